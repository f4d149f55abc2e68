// SPDX-License-Identifier: GPL-2.0

//! Sets of bits.
//!
//! [`flags!`](crate::flags!) declares a set in the syntax, and with the methods, of the `bitflags`
//! crate, which the kernel does not have. Bits that a set does not name are kept: a message or a
//! disk may hold bits of a newer version, and what is not understood is either passed on or
//! refused by the reader ([`unknown`](#method.unknown)), never lost on the way.

/// Declares a set of bits over an unsigned integer.
///
/// ```
/// wire::flags! {
///     /// What a door can do.
///     pub struct DoorFlags: u32 {
///         /// It opens.
///         const OPENS = 0x1;
///         /// It locks.
///         const LOCKS = 0x2;
///     }
/// }
///
/// let mut door = DoorFlags::OPENS | DoorFlags::from_bits_retain(0x10);
/// door.insert(DoorFlags::LOCKS);
/// assert!(door.contains(DoorFlags::OPENS | DoorFlags::LOCKS));
/// assert_eq!(door.unknown(), 0x10);
/// assert_eq!(format!("{door:?}"), "OPENS | LOCKS | 0x10");
/// ```
#[macro_export]
macro_rules! flags {
    (
        $(#[$outer:meta])*
        $vis:vis struct $name:ident: $int:ty {
            $( $(#[$inner:meta])* const $flag:ident = $value:expr; )*
        }
    ) => {
        $(#[$outer])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
        #[repr(transparent)]
        $vis struct $name($int);

        #[allow(dead_code)]
        impl $name {
            $( $(#[$inner])* pub const $flag: Self = Self($value); )*

            /// No bit.
            pub const fn empty() -> Self {
                Self(0)
            }

            /// Every bit that has a name.
            pub const fn all() -> Self {
                Self(0 $( | $value )*)
            }

            /// The value as it stands on the wire or on disk, in the host's order.
            pub const fn bits(&self) -> $int {
                self.0
            }

            /// The set with these bits, those without a name too.
            pub const fn from_bits_retain(bits: $int) -> Self {
                Self(bits)
            }

            /// The set with those of these bits that have a name.
            pub const fn from_bits_truncate(bits: $int) -> Self {
                Self(bits & Self::all().0)
            }

            /// The set, if every bit has a name.
            pub const fn from_bits(bits: $int) -> Option<Self> {
                if bits & !Self::all().0 == 0 {
                    Some(Self(bits))
                } else {
                    None
                }
            }

            /// The bits without a name.
            pub const fn unknown(&self) -> $int {
                self.0 & !Self::all().0
            }

            /// Whether no bit is set.
            pub const fn is_empty(&self) -> bool {
                self.0 == 0
            }

            /// Whether all bits of `other` are set.
            pub const fn contains(&self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether some bit of `other` is set.
            pub const fn intersects(&self, other: Self) -> bool {
                self.0 & other.0 != 0
            }

            /// Sets the bits of `other`.
            pub fn insert(&mut self, other: Self) {
                self.0 |= other.0;
            }

            /// Clears the bits of `other`.
            pub fn remove(&mut self, other: Self) {
                self.0 &= !other.0;
            }

            /// Sets or clears the bits of `other`.
            pub fn set(&mut self, other: Self, value: bool) {
                if value {
                    self.insert(other);
                } else {
                    self.remove(other);
                }
            }

            /// The bits of both.
            pub const fn union(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// The bits that both have.
            pub const fn intersection(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }

            /// The bits that `other` does not have.
            pub const fn difference(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }
        }

        impl ::core::ops::BitOr for $name {
            type Output = Self;
            fn bitor(self, other: Self) -> Self {
                self.union(other)
            }
        }

        impl ::core::ops::BitOrAssign for $name {
            fn bitor_assign(&mut self, other: Self) {
                self.insert(other);
            }
        }

        impl ::core::ops::BitAnd for $name {
            type Output = Self;
            fn bitand(self, other: Self) -> Self {
                self.intersection(other)
            }
        }

        impl ::core::ops::BitAndAssign for $name {
            fn bitand_assign(&mut self, other: Self) {
                self.0 &= other.0;
            }
        }

        impl ::core::ops::Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                self.difference(other)
            }
        }

        impl ::core::ops::SubAssign for $name {
            fn sub_assign(&mut self, other: Self) {
                self.remove(other);
            }
        }

        impl ::core::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                let mut left = self.0;
                let mut first = true;
                $(
                    let bits: $int = $value;
                    if bits != 0 && left & bits == bits {
                        left &= !$value;
                        if !::core::mem::replace(&mut first, false) {
                            f.write_str(" | ")?;
                        }
                        f.write_str(stringify!($flag))?;
                    }
                )*
                if left != 0 || first {
                    if !first {
                        f.write_str(" | ")?;
                    }
                    write!(f, "{left:#x}")?;
                }
                Ok(())
            }
        }
    };
}
