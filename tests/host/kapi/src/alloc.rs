// SPDX-License-Identifier: GPL-2.0

//! Fallible allocation: boxes and vectors with the kernel's interface.

use core::marker::{CoercePointee, PhantomData};
use core::ops::{Deref, DerefMut};
use core::pin::Pin;
use pin_init::PinInit;
use std::fmt;

/// Allocation flags; they say nothing to the host's allocator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flags(u32);

/// The flags the layers use.
pub mod flags {
    use super::Flags;
    /// May sleep and start I/O.
    pub const GFP_KERNEL: Flags = Flags(0);
    /// May sleep, may not enter a file system: for use inside a transaction.
    pub const GFP_NOFS: Flags = Flags(1);
    /// May not sleep.
    pub const GFP_ATOMIC: Flags = Flags(2);
    /// May not sleep, no reserves.
    pub const GFP_NOWAIT: Flags = Flags(3);
}

/// An allocation failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AllocError;

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("out of memory")
    }
}

/// `kmalloc`: physically contiguous, small.
#[derive(Debug)]
pub struct Kmalloc;
/// `kvmalloc`: contiguous if it can be had, mapped pages otherwise.
#[derive(Debug)]
pub struct KVmalloc;
/// `vmalloc`: mapped pages.
#[derive(Debug)]
pub struct Vmalloc;

/// A vector from `kmalloc`.
pub type KVec<T> = Vec<T, Kmalloc>;
/// A vector from `kvmalloc`, for what may be large.
pub type KVVec<T> = Vec<T, KVmalloc>;
/// A vector from `vmalloc`.
pub type VVec<T> = Vec<T, Vmalloc>;
/// A box from `kmalloc`.
pub type KBox<T> = Box<T, Kmalloc>;
/// A box from `kvmalloc`.
pub type KVBox<T> = Box<T, KVmalloc>;

/// An element did not fit the capacity; it is given back.
#[derive(Debug)]
pub struct PushError<T>(pub T);

impl<T> From<PushError<T>> for crate::error::Error {
    fn from(_: PushError<T>) -> Self {
        crate::error::code::EINVAL
    }
}

/// There is no such element.
#[derive(Debug)]
pub struct RemoveError;

impl From<RemoveError> for crate::error::Error {
    fn from(_: RemoveError) -> Self {
        crate::error::code::EINVAL
    }
}

/// A growable array whose growth can fail.
pub struct Vec<T, A> {
    v: std::vec::Vec<T>,
    _a: PhantomData<A>,
}

// SAFETY: the allocator marker holds no data; the elements decide.
unsafe impl<T: Send, A> Send for Vec<T, A> {}
// SAFETY: as above.
unsafe impl<T: Sync, A> Sync for Vec<T, A> {}

impl<T, A> Vec<T, A> {
    /// An empty vector; allocates nothing.
    pub const fn new() -> Self {
        Vec {
            v: std::vec::Vec::new(),
            _a: PhantomData,
        }
    }
    fn from_std(v: std::vec::Vec<T>) -> Self {
        Vec { v, _a: PhantomData }
    }
    /// An empty vector with room for `n` elements.
    pub fn with_capacity(n: usize, flags: Flags) -> Result<Self, AllocError> {
        let mut v = Self::new();
        v.reserve(n, flags)?;
        Ok(v)
    }
    /// Makes room for `n` more elements.
    pub fn reserve(&mut self, n: usize, _flags: Flags) -> Result<(), AllocError> {
        self.v.try_reserve(n).map_err(|_| AllocError)
    }
    /// Appends.
    pub fn push(&mut self, t: T, flags: Flags) -> Result<(), AllocError> {
        self.reserve(1, flags)?;
        self.v.push(t);
        Ok(())
    }
    /// Appends if there is room.
    pub fn push_within_capacity(&mut self, t: T) -> Result<(), PushError<T>> {
        if self.v.len() == self.v.capacity() {
            return Err(PushError(t));
        }
        self.v.push(t);
        Ok(())
    }
    /// Takes the last element.
    pub fn pop(&mut self) -> Option<T> {
        self.v.pop()
    }
    /// Takes element `i`, moving those behind it.
    pub fn remove(&mut self, i: usize) -> Result<T, RemoveError> {
        if i < self.v.len() {
            Ok(self.v.remove(i))
        } else {
            Err(RemoveError)
        }
    }
    /// Drops all elements.
    pub fn clear(&mut self) {
        self.v.clear()
    }
    /// Drops all from `n` on.
    pub fn truncate(&mut self, n: usize) {
        self.v.truncate(n)
    }
    /// Keeps what `f` says.
    pub fn retain(&mut self, f: impl FnMut(&mut T) -> bool) {
        self.v.retain_mut(f)
    }
    /// Takes all elements out.
    pub fn drain_all(&mut self) -> std::vec::Drain<'_, T> {
        self.v.drain(..)
    }
    /// Elements there is room for.
    pub fn capacity(&self) -> usize {
        self.v.capacity()
    }
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.v.len()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.v.is_empty()
    }
    /// The elements.
    pub fn as_slice(&self) -> &[T] {
        &self.v
    }
    /// The elements.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.v
    }
}

impl<T: Clone, A> Vec<T, A> {
    /// Appends clones of all of `s`.
    pub fn extend_from_slice(&mut self, s: &[T], flags: Flags) -> Result<(), AllocError> {
        self.reserve(s.len(), flags)?;
        self.v.extend_from_slice(s);
        Ok(())
    }
    /// Appends `n` clones.
    pub fn extend_with(&mut self, n: usize, t: T, flags: Flags) -> Result<(), AllocError> {
        self.reserve(n, flags)?;
        let new = self.v.len() + n;
        self.v.resize(new, t);
        Ok(())
    }
    /// `n` clones of `t`.
    pub fn from_elem(t: T, n: usize, flags: Flags) -> Result<Self, AllocError> {
        let mut v = Self::new();
        v.extend_with(n, t, flags)?;
        Ok(v)
    }
    /// Grows with clones of `t`, or shortens, to `n`.
    pub fn resize(&mut self, n: usize, t: T, flags: Flags) -> Result<(), AllocError> {
        self.reserve(n.saturating_sub(self.v.len()), flags)?;
        self.v.resize(n, t);
        Ok(())
    }
}

impl<T, A> Default for Vec<T, A> {
    fn default() -> Self {
        Self::new()
    }
}
impl<T, A> Deref for Vec<T, A> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.v
    }
}
impl<T, A> DerefMut for Vec<T, A> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.v
    }
}
impl<T: fmt::Debug, A> fmt::Debug for Vec<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.v.fmt(f)
    }
}
impl<T: PartialEq, A, B> PartialEq<Vec<T, B>> for Vec<T, A> {
    fn eq(&self, o: &Vec<T, B>) -> bool {
        self.v == o.v
    }
}
impl<T: Eq, A> Eq for Vec<T, A> {}
impl<T, A> IntoIterator for Vec<T, A> {
    type Item = T;
    type IntoIter = IntoIter<T, A>;
    fn into_iter(self) -> IntoIter<T, A> {
        IntoIter {
            i: self.v.into_iter(),
            _a: PhantomData,
        }
    }
}
impl<'a, T, A> IntoIterator for &'a Vec<T, A> {
    type Item = &'a T;
    type IntoIter = core::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.v.iter()
    }
}
impl<'a, T, A> IntoIterator for &'a mut Vec<T, A> {
    type Item = &'a mut T;
    type IntoIter = core::slice::IterMut<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.v.iter_mut()
    }
}

/// Iterator over the elements of a consumed vector.
pub struct IntoIter<T, A> {
    i: std::vec::IntoIter<T>,
    _a: PhantomData<A>,
}
impl<T, A> Iterator for IntoIter<T, A> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.i.next()
    }
}
impl<T, A> IntoIter<T, A> {
    /// What is left, as a vector.
    pub fn collect(self, _flags: Flags) -> Vec<T, A> {
        Vec::from_std(self.i.collect())
    }
}

/// An owned value on the heap.
#[derive(CoercePointee)]
#[repr(transparent)]
pub struct Box<#[pointee] T: ?Sized, A>(std::boxed::Box<T>, PhantomData<A>);

// SAFETY: the allocator marker holds no data; the value decides.
unsafe impl<T: Send + ?Sized, A> Send for Box<T, A> {}
// SAFETY: as above.
unsafe impl<T: Sync + ?Sized, A> Sync for Box<T, A> {}

impl<T, A> Box<T, A> {
    /// Moves `t` to the heap.
    pub fn new(t: T, _flags: Flags) -> Result<Self, AllocError> {
        Ok(Box(std::boxed::Box::new(t), PhantomData))
    }
    /// The value, the memory freed.
    pub fn into_inner(b: Self) -> T {
        *b.0
    }
    /// Moves `t` to the heap for good.
    pub fn pin(t: T, flags: Flags) -> Result<Pin<Self>, AllocError> {
        Ok(Self::into_pin(Self::new(t, flags)?))
    }
}
impl<T: ?Sized, A> Box<T, A> {
    /// Pins it.
    pub fn into_pin(this: Self) -> Pin<Self> {
        // SAFETY: the value is on the heap and the box gives no way to move it out of a `Pin`.
        unsafe { Pin::new_unchecked(this) }
    }
}
impl<T: ?Sized, A> Deref for Box<T, A> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}
impl<T: ?Sized, A> DerefMut for Box<T, A> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
impl<T: fmt::Debug + ?Sized, A> fmt::Debug for Box<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Construction in place, as in the kernel's `InPlaceInit`.
pub trait InPlaceInit<T>: Sized {
    /// The pinned form.
    type PinnedSelf;
    /// Runs the initialiser in new memory.
    fn pin_init<E>(
        init: impl PinInit<T, E>,
        flags: Flags,
    ) -> crate::error::Result<Self::PinnedSelf>
    where
        crate::error::Error: From<E>;
}

impl<T, A> InPlaceInit<T> for Box<T, A> {
    type PinnedSelf = Pin<Self>;
    fn pin_init<E>(init: impl PinInit<T, E>, _flags: Flags) -> crate::error::Result<Pin<Self>>
    where
        crate::error::Error: From<E>,
    {
        let mut b = std::boxed::Box::<T>::new_uninit();
        // SAFETY: the memory is fresh, is not moved, and is taken as initialised only on success.
        let b = unsafe {
            pin_init::raw_try_init(b.as_mut_ptr(), init)?;
            b.assume_init()
        };
        Ok(Self::into_pin(Box(b, PhantomData)))
    }
}

/// An initialiser whose error type is [`crate::error::Error`].
#[macro_export]
macro_rules! try_pin_init {
    ($($args:tt)*) => {
        ::pin_init::pin_init!(
            #[default_error($crate::error::Error)]
            $($args)*
        )
    }
}
