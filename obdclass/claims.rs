// SPDX-License-Identifier: GPL-2.0

//! Names of targets that are mounted, or about to be: each once.

use crate::text::Text;
use kapi::prelude::*;

/// The names.
#[pin_data]
pub(crate) struct Claims {
    #[pin]
    names: Mutex<KVec<Text>>,
}

impl Claims {
    /// None yet.
    pub(crate) fn new() -> Result<Arc<Claims>> {
        Arc::pin_init(
            pin_init!(Claims {
                names <- new_mutex!(KVec::new()),
            }),
            GFP_KERNEL,
        )
    }

    /// Takes a name.
    ///
    /// # Errors
    /// `EALREADY`: somebody has it. `ENOMEM`.
    pub(crate) fn claim(self: &Arc<Self>, name: &str) -> Result<Claim> {
        let (kept, given) = (Text::copy(name)?, Text::copy(name)?);
        let mut names = self.names.lock();
        if names.iter().any(|n| n.as_str() == name) {
            return Err(EALREADY);
        }
        names.push(kept, GFP_KERNEL)?;
        Ok(Claim {
            claims: self.clone(),
            name: given,
        })
    }
}

/// A name that is ours until this is dropped.
pub(crate) struct Claim {
    claims: Arc<Claims>,
    name: Text,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut names = self.claims.names.lock();
        names.retain(|n| n.as_str() != self.name.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_each() -> Result {
        let c = Claims::new()?;
        let a = c.claim("l-OST0000")?;
        let _b = c.claim("l-OST0001")?;
        assert_eq!(c.claim("l-OST0000").err(), Some(EALREADY));
        drop(a);
        assert!(c.claim("l-OST0000").is_ok());
        Ok(())
    }
}
