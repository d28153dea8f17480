//! Memory of a device, and memory of the host that it sees.

use core::ptr;

use cudarc::driver::sys;

use super::{Address, Done, returned};

/// Free bytes of the current device.
pub(in crate::backend::cuda) fn free_memory() -> Done<usize> {
    let mut total = 0;
    // SAFETY: both pointers are valid for integers.
    returned(|free| unsafe { sys::cuMemGetInfo_v2(free, &raw mut total) })
}

/// Memory of the device.
#[derive(Debug)]
pub(in crate::backend::cuda) struct Memory {
    address: Address,
    bytes: usize,
}

impl Memory {
    pub(in crate::backend::cuda) fn new(bytes: usize) -> Done<Self> {
        // SAFETY: the pointer is valid for the address.
        let address = returned(|to| unsafe { sys::cuMemAlloc_v2(to, bytes.max(1)) })?;
        Ok(Self { address, bytes })
    }

    pub(in crate::backend::cuda) const fn address(&self) -> Address {
        self.address
    }

    pub(in crate::backend::cuda) const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: nobody else has the address; the driver waits for work that may use it.
        let _ = unsafe { sys::cuMemFree_v2(self.address) };
    }
}

/// `n` numbers in memory of the host that a device writes to.
#[derive(Debug)]
pub(in crate::backend::cuda) struct Pinned {
    numbers: *mut f64,
    n: usize,
    /// Where the device sees them.
    address: Address,
}

impl Pinned {
    pub(in crate::backend::cuda) fn new(n: usize) -> Done<Self> {
        let (bytes, flags) = (n * size_of::<f64>(), sys::CU_MEMHOSTALLOC_DEVICEMAP);
        // SAFETY: the pointer is valid for the address.
        let place = returned(|to| unsafe { sys::cuMemHostAlloc(to, bytes, flags) })?;
        let mut this = Self {
            numbers: place.cast(),
            n,
            address: 0,
        };
        // SAFETY: the memory was allocated to be seen by the device; the pointer is valid for the address.
        this.address = returned(|to| unsafe { sys::cuMemHostGetDevicePointer_v2(to, place, 0) })?;
        Ok(this)
    }

    pub(in crate::backend::cuda) const fn address(&self) -> Address {
        self.address
    }

    /// Number `place`, as the device wrote it last.
    pub(in crate::backend::cuda) fn read(&self, place: usize) -> f64 {
        assert!(place < self.n, "a number beyond the table");
        // SAFETY: the place is within the memory.
        let number = unsafe { self.numbers.add(place) };
        // SAFETY: the memory lives; a device may write to it at any time.
        unsafe { ptr::read_volatile(number) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: nobody else has the address; the driver waits for work that may use it.
        let _ = unsafe { sys::cuMemFreeHost(self.numbers.cast()) };
    }
}
