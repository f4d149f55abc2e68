// SPDX-License-Identifier: GPL-2.0

//! What a new file shall be like: checked, and completed from level to level (`mdt.md` 20.4, 20.5).

use kapi::prelude::*;
use wire::cfg::LovDesc;
use wire::fid::Fid;
use wire::lov::{
    LovMd, LovPattern, Plain, PlainSpec, PoolName, INHERIT_POOL, LOV_ALL_STRIPES,
    LOV_MAX_STRIPE_COUNT, LOV_MIN_STRIPE_SIZE, LOV_OFFSET_DEFAULT, NO_POOL,
};

/// What files are like where nobody says anything else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Desc {
    /// Bytes of a stripe.
    pub stripe_size: u32,
    /// Stripes; [`LOV_ALL_STRIPES`]: one on each OST.
    pub stripe_count: u16,
    /// The first OST; [`LOV_OFFSET_DEFAULT`]: any.
    pub stripe_offset: u16,
}

impl Default for Desc {
    fn default() -> Self {
        Desc {
            stripe_size: 4 << 20,
            stripe_count: 1,
            stripe_offset: LOV_OFFSET_DEFAULT,
        }
    }
}

impl Desc {
    /// From the set-up record of the configuration; what is no possible value becomes the default.
    pub fn from_wire(d: &LovDesc) -> Desc {
        let default = Desc::default();
        let size = u32::try_from(d.ld_default_stripe_size.get()).unwrap_or(0);
        let size = size - size % LOV_MIN_STRIPE_SIZE;
        let count = match d.ld_default_stripe_count.get() {
            -1 => LOV_ALL_STRIPES,
            n => u16::try_from(n).unwrap_or(0).min(LOV_MAX_STRIPE_COUNT),
        };
        Desc {
            stripe_size: if size == 0 { default.stripe_size } else { size },
            stripe_count: if count == 0 {
                default.stripe_count
            } else {
                count
            },
            stripe_offset: u16::try_from(d.ld_default_stripe_offset.get())
                .unwrap_or(LOV_OFFSET_DEFAULT),
        }
    }
}

/// What a level says of the pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pool {
    /// Nothing.
    Unsaid,
    /// That there is none.
    None,
    Named(PoolName),
}

/// What one level says.
#[derive(Debug)]
struct Level {
    size: Option<u32>,
    count: Option<u16>,
    offset: Option<u16>,
    pool: Pool,
    /// The OSTs, one by one.
    osts: KVec<u16>,
}

impl Level {
    /// Reads a plain layout without objects.
    ///
    /// # Errors
    /// `EINVAL`: there is no such layout. `EOPNOTSUPP`: there is, but not here. `ENOMEM`.
    fn read(p: &Plain<'_>) -> Result<Level> {
        let pattern = p.pattern();
        if pattern.unknown() != 0 {
            return Err(EINVAL);
        }
        if !pattern.difference(LovPattern::RAID0).is_empty() {
            return Err(EOPNOTSUPP);
        }
        let size = p.md.lmm_stripe_size.get();
        if size % LOV_MIN_STRIPE_SIZE != 0 {
            return Err(EINVAL);
        }
        let count = p.md.lmm_stripe_count.get();
        // Counts that stand for several stripes on each OST.
        if count != LOV_ALL_STRIPES && count > LOV_MAX_STRIPE_COUNT {
            return Err(EINVAL);
        }
        let offset = p.md.lmm_layout_gen.get();
        let mut osts = KVec::new();
        if p.is_specific() {
            for o in p.objects {
                let index = u16::try_from(o.l_ost_idx.get()).map_err(|_| EINVAL)?;
                if osts.contains(&index) {
                    return Err(EINVAL);
                }
                osts.push(index, GFP_KERNEL)?;
            }
            if osts.is_empty() {
                return Err(EINVAL);
            }
        }
        Ok(Level {
            size: (size != 0).then_some(size),
            count: (count != 0).then_some(count),
            offset: (offset != LOV_OFFSET_DEFAULT).then_some(offset),
            pool: Self::read_pool(p)?,
            osts,
        })
    }

    fn read_pool(p: &Plain<'_>) -> Result<Pool> {
        let Some(name) = p.pool_name() else {
            return Ok(Pool::Unsaid);
        };
        if NO_POOL.contains(&name) {
            return Ok(Pool::None);
        }
        if name == INHERIT_POOL {
            return Ok(Pool::Unsaid);
        }
        let name = PoolName::found(name).map_err(|_| ENAMETOOLONG)?;
        Ok(Pool::Named(name))
    }

    /// Whether it says that nothing is said.
    fn is_empty(&self) -> bool {
        self.size.is_none()
            && self.count.is_none()
            && self.offset.is_none()
            && self.osts.is_empty()
            && self.pool == Pool::Unsaid
    }
}

/// What a user asks for.
fn read_user(bytes: &[u8]) -> Result<Level> {
    match LovMd::parse_user(bytes).map_err(|_| EINVAL)? {
        LovMd::Plain(p) => Level::read(&p),
        LovMd::Composite(_) | LovMd::Foreign(..) => Err(EOPNOTSUPP),
    }
}

/// What a directory says; `None`: nothing, or what cannot be taken over in parts.
fn read_directory(bytes: Option<&[u8]>, alone: bool) -> Result<Option<Level>> {
    let Some(bytes) = bytes else { return Ok(None) };
    match LovMd::parse(bytes).map_err(|_| EINVAL)? {
        LovMd::Plain(p) => Level::read(&p).map(Some),
        // As a whole it is what the file would be like.
        LovMd::Composite(_) | LovMd::Foreign(..) if alone => Err(EOPNOTSUPP),
        LovMd::Composite(_) | LovMd::Foreign(..) => Ok(None),
    }
}

/// What a new file shall be like, complete.
#[derive(Debug)]
pub struct Spec {
    pub(crate) stripe_size: u32,
    /// At least one, or [`LOV_ALL_STRIPES`].
    pub(crate) stripe_count: u16,
    /// The first OST; [`LOV_OFFSET_DEFAULT`]: any.
    pub(crate) offset: u16,
    /// The OSTs, one by one; else empty.
    pub(crate) osts: KVec<u16>,
    pub(crate) pool: Option<PoolName>,
}

impl Spec {
    /// Puts together what the user asks for, what the parent directory and the root directory have
    /// as default layouts, and what holds for the file system.
    ///
    /// # Errors
    /// `EINVAL`: the user's wish cannot be, or a default is damaged. `EOPNOTSUPP`: a layout that
    /// is not made here: composite, on the MDT, several stripes on an OST. `ENAMETOOLONG`: the
    /// pool. `ENOMEM`.
    pub(crate) fn complete(
        user: Option<&[u8]>,
        parent: Option<&[u8]>,
        root: Option<&[u8]>,
        desc: &Desc,
    ) -> Result<Spec> {
        let mut spec = Spec {
            stripe_size: 0,
            stripe_count: 0,
            offset: LOV_OFFSET_DEFAULT,
            osts: KVec::new(),
            pool: None,
        };
        let mut pool = Pool::Unsaid;
        let user = user.map(read_user).transpose()?;
        let has_user = user.is_some();
        let parent = read_directory(parent, !has_user)?;
        let root = read_directory(root, !has_user && parent.is_none())?;
        for level in [user, parent, root].into_iter().flatten() {
            if spec.osts.is_empty() && spec.offset == LOV_OFFSET_DEFAULT {
                spec.offset = level.offset.unwrap_or(LOV_OFFSET_DEFAULT);
                // A list means so many stripes: it goes with no other count.
                if spec.stripe_count == 0 {
                    spec.osts = level.osts;
                }
            }
            if spec.stripe_count == 0 {
                spec.stripe_count = level.count.unwrap_or(0);
            }
            if spec.stripe_size == 0 {
                spec.stripe_size = level.size.unwrap_or(0);
            }
            if pool == Pool::Unsaid {
                pool = level.pool;
            }
        }
        if let Pool::Named(name) = pool {
            spec.pool = Some(name);
        }
        if !spec.osts.is_empty() {
            spec.stripe_count = u16::try_from(spec.osts.len())?;
        }
        if spec.stripe_count == 0 {
            spec.stripe_count = desc.stripe_count;
        }
        if spec.stripe_size == 0 {
            spec.stripe_size = desc.stripe_size;
        }
        if spec.offset == LOV_OFFSET_DEFAULT {
            spec.offset = desc.stripe_offset;
        }
        Ok(spec)
    }

    /// Bytes of a stripe.
    pub fn stripe_size(&self) -> u32 {
        self.stripe_size
    }

    /// Stripes wanted.
    pub fn stripe_count(&self) -> u16 {
        self.stripe_count
    }
}

/// What a directory is to have as default layout when a user asks for this; `None`: none.
///
/// # Errors
/// As [`Spec::complete`].
pub(crate) fn directory_default(user: &[u8]) -> Result<Option<KVVec<u8>>> {
    let LovMd::Plain(p) = LovMd::parse_user(user).map_err(|_| EINVAL)? else {
        return Err(EOPNOTSUPP);
    };
    let level = Level::read(&p)?;
    if level.is_empty() {
        return Ok(None);
    }
    if !level.osts.is_empty() {
        return Err(EOPNOTSUPP);
    }
    let spec = PlainSpec {
        pattern: LovPattern::RAID0,
        fid: Fid::ZERO,
        stripe_size: p.md.lmm_stripe_size.get(),
        stripe_count: p.md.lmm_stripe_count.get(),
        layout_gen: p.md.lmm_layout_gen.get(),
        // Also one of the names that are none: it says so to what is below.
        pool: p.pool_name(),
    };
    let mut bytes = KVVec::from_elem(0, spec.size(0), GFP_KERNEL)?;
    spec.write(&[], &mut bytes).map_err(|_| ENAMETOOLONG)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: u16 = LOV_OFFSET_DEFAULT;

    fn ea(size: u32, count: u16, offset: u16, pool: Option<&[u8]>) -> Vec<u8> {
        let spec = PlainSpec {
            pattern: LovPattern::RAID0,
            fid: Fid::ZERO,
            stripe_size: size,
            stripe_count: count,
            layout_gen: offset,
            pool,
        };
        let mut v = vec![0; spec.size(0)];
        spec.write(&[], &mut v).unwrap();
        v
    }

    fn complete(levels: [Option<&[u8]>; 3]) -> (u32, u16, u16, Option<Vec<u8>>) {
        let [user, parent, root] = levels;
        let s = Spec::complete(user, parent, root, &Desc::default()).unwrap();
        let pool = s.pool.map(|p| p.as_bytes().to_vec());
        (s.stripe_size(), s.stripe_count(), s.offset, pool)
    }

    #[test]
    fn what_a_level_leaves_open_the_next_one_says() {
        assert_eq!(complete([None; 3]), (4 << 20, 1, ANY, None));
        let user = ea(0, 2, ANY, None);
        let parent = ea(1 << 20, 3, 5, Some(b"fast"));
        let root = ea(2 << 20, 4, 6, Some(b"slow"));
        let all = [Some(&user[..]), Some(&parent[..]), Some(&root[..])];
        let fast = Some(b"fast".to_vec());
        assert_eq!(complete(all), (1 << 20, 2, 5, fast));
        let slow = Some(b"slow".to_vec());
        assert_eq!(complete([None, None, all[2]]), (2 << 20, 4, 6, slow));
        // Names that say there is no pool, or that nothing is said.
        let none = ea(0, 0, ANY, Some(b"none"));
        assert_eq!(complete([Some(&none), all[1], None]).3, None);
        let inherit = ea(0, 0, ANY, Some(b"inherit"));
        let got = complete([Some(&inherit), all[1], None]);
        assert_eq!(got.3, Some(b"fast".to_vec()));
    }

    #[test]
    fn defaults_of_directories() {
        let get = |v: &[u8]| directory_default(v).map(|v| v.map(|v| v.to_vec()));
        assert_eq!(get(&ea(0, 0, ANY, None)), Ok(None));
        let v = ea(1 << 20, LOV_ALL_STRIPES, ANY, Some(b"fast"));
        assert_eq!(get(&v), Ok(Some(v.clone())));
        // What the user's fields hold besides is not his to say.
        let mut odd = ea(1 << 20, 1, 3, None);
        let want = odd.clone();
        odd[8..24].fill(0xaa);
        odd[4..8].fill(0);
        odd.extend([0; 100]);
        assert_eq!(get(&odd), Ok(Some(want)));
        assert_eq!(get(&ea(1000, 1, ANY, None)), Err(EINVAL));
        assert_eq!(get(&ea(0, 2001, ANY, None)), Err(EINVAL));
        assert_eq!(get(b"abc"), Err(EINVAL));
    }

    #[test]
    fn the_configuration() {
        let mut d = LovDesc::new(b"test-clilov_UUID").unwrap();
        d.ld_default_stripe_count.set(-1);
        d.ld_default_stripe_size.set((1 << 20) + 5);
        d.ld_default_stripe_offset.set(-1);
        let got = Desc::from_wire(&d);
        let want = Desc {
            stripe_size: 1 << 20,
            stripe_count: LOV_ALL_STRIPES,
            stripe_offset: ANY,
        };
        assert_eq!(got, want);
        d.ld_default_stripe_size.set(1 << 40);
        d.ld_default_stripe_count.set(0);
        let got = Desc::from_wire(&d);
        assert_eq!((got.stripe_size, got.stripe_count), (4 << 20, 1));
    }
}
