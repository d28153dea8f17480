//! The CUDA driver: every call of it, each as a safe function that returns an error.
#![allow(
    unsafe_code,
    reason = "calls of a C library; no other module of the backend makes any"
)]

use core::ffi::{CStr, c_int};
use core::mem::MaybeUninit;
use core::ptr;

use cudarc::driver::sys;

mod memory;
mod products;
mod stream;

pub(super) use memory::{Memory, Pinned, free_memory};
pub(super) use products::{Form, Library, Plan, Refused, library_is_present};
pub(super) use stream::{Event, Graph, Stream};

/// What a call of the driver returned instead of success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed(sys::CUresult);

impl Failed {
    pub(super) fn is_no_device(self) -> bool {
        self.0 == sys::CUresult::CUDA_ERROR_NO_DEVICE
    }

    pub(super) fn is_out_of_memory(self) -> bool {
        self.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY
    }

    /// What the driver says about it.
    pub(super) fn message(self) -> String {
        let mut text = ptr::null();
        // SAFETY: `text` is a valid place for a pointer.
        let code = unsafe { sys::cuGetErrorString(self.0, &raw mut text) };
        if code != sys::CUresult::CUDA_SUCCESS || text.is_null() {
            return format!("{:?}", self.0);
        }
        // SAFETY: the driver returns a string that ends in zero and is never freed.
        let text = unsafe { CStr::from_ptr(text) };
        text.to_string_lossy().into_owned()
    }
}

type Done<T = ()> = Result<T, Failed>;

/// An address in the memory of a device.
pub(super) type Address = sys::CUdeviceptr;

fn check(code: sys::CUresult) -> Done {
    match code {
        sys::CUresult::CUDA_SUCCESS => Ok(()),
        code => Err(Failed(code)),
    }
}

/// What `call` writes through the pointer that it is given, if it succeeds.
fn returned<T>(call: impl FnOnce(*mut T) -> sys::CUresult) -> Done<T> {
    let mut value = MaybeUninit::zeroed();
    check(call(value.as_mut_ptr()))?;
    // SAFETY: the driver has written the value; until then it was zeros, which its integers,
    // addresses and handles may be.
    Ok(unsafe { value.assume_init() })
}

/// Whether there is a driver. Before any other call: those panic without one.
pub(super) fn is_present() -> bool {
    // SAFETY: loading the driver runs its initialisers, as every CUDA program does.
    unsafe { sys::is_culib_present() }
}

/// Starts the driver.
pub(super) fn start() -> Done {
    // SAFETY: takes no pointer.
    check(unsafe { sys::cuInit(0) })
}

/// The newest CUDA that the driver knows: 1000 times the major number and 10 times the minor.
pub(super) fn version() -> Done<c_int> {
    // SAFETY: the pointer is valid for the integer.
    returned(|to| unsafe { sys::cuDriverGetVersion(to) })
}

pub(super) fn device_count() -> Done<c_int> {
    // SAFETY: the pointer is valid for the integer.
    returned(|to| unsafe { sys::cuDeviceGetCount(to) })
}

/// A device by its number.
pub(super) fn device(number: c_int) -> Done<sys::CUdevice> {
    // SAFETY: the pointer is valid for the handle.
    returned(|to| unsafe { sys::cuDeviceGet(to, number) })
}

pub(super) fn device_name(device: sys::CUdevice) -> Done<String> {
    let mut text = [0; 256];
    // SAFETY: there is room for as many bytes as are named.
    check(unsafe { sys::cuDeviceGetName(text.as_mut_ptr(), 255, device) })?;
    // SAFETY: the last byte is zero, whatever the driver wrote before it.
    let text = unsafe { CStr::from_ptr(text.as_ptr()) };
    Ok(text.to_string_lossy().into_owned())
}

pub(super) fn device_memory(device: sys::CUdevice) -> Done<usize> {
    // SAFETY: the pointer is valid for the integer.
    returned(|to| unsafe { sys::cuDeviceTotalMem_v2(to, device) })
}

/// Compute capability, and processors.
pub(super) fn device_facts(device: sys::CUdevice) -> Done<[c_int; 3]> {
    use sys::CUdevice_attribute as Attribute;
    let fact = |which| {
        // SAFETY: the pointer is valid for the integer.
        returned(|to| unsafe { sys::cuDeviceGetAttribute(to, which, device) })
    };
    Ok([
        fact(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        fact(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        fact(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
    ])
}

/// What the process holds of a device: it is current in the thread that made it.
#[derive(Debug)]
pub(super) struct Context(sys::CUdevice);

impl Context {
    pub(super) fn new(device: sys::CUdevice) -> Done<Self> {
        // SAFETY: the pointer is valid for the handle.
        let context = returned(|to| unsafe { sys::cuDevicePrimaryCtxRetain(to, device) })?;
        let this = Self(device);
        // SAFETY: the context has just been retained.
        check(unsafe { sys::cuCtxSetCurrent(context) })?;
        Ok(this)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: `new` retained it. An error is of a device that is lost: nothing is left to do.
        let _ = unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.0) };
    }
}

/// Kernels on the device.
#[derive(Debug)]
pub(super) struct Module(sys::CUmodule);

/// A kernel of a [`Module`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Function(sys::CUfunction);

impl Module {
    /// From a cubin, or from PTX that ends in a zero.
    pub(super) fn load(image: &[u8]) -> Done<Self> {
        // SAFETY: the image is one that `cargo xtask cuda` made, whole; the driver copies it.
        returned(|to| unsafe { sys::cuModuleLoadData(to, image.as_ptr().cast()) }).map(Self)
    }

    pub(super) fn function(&self, name: &CStr) -> Done<Function> {
        // SAFETY: the module lives and the name ends in a zero.
        returned(|to| unsafe { sys::cuModuleGetFunction(to, self.0, name.as_ptr()) }).map(Function)
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: the device holds it until here, and launches none of its kernels any more.
        let _ = unsafe { sys::cuModuleUnload(self.0) };
    }
}
