//! The CUDA driver: every call of it, each as a safe function that returns an error.
#![allow(
    unsafe_code,
    reason = "calls of a C library; no other module of the backend makes any"
)]

use core::ffi::{CStr, c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr;

use cudarc::driver::sys;

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

/// Free bytes of the current device.
pub(super) fn free_memory() -> Done<usize> {
    let mut total = 0;
    // SAFETY: both pointers are valid for integers.
    returned(|free| unsafe { sys::cuMemGetInfo_v2(free, &raw mut total) })
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

/// A queue of work.
#[derive(Debug)]
pub(super) struct Stream(sys::CUstream);

impl Stream {
    pub(super) fn new() -> Done<Self> {
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: the pointer is valid for the handle.
        returned(|to| unsafe { sys::cuStreamCreate(to, flags) }).map(Self)
    }

    /// Waits until the work is done.
    pub(super) fn wait(&self) -> Done {
        // SAFETY: the stream lives.
        check(unsafe { sys::cuStreamSynchronize(self.0) })
    }

    /// Runs `kernel` with `arguments`, the bytes of its one parameter.
    pub(super) fn launch(
        &self,
        kernel: Function,
        grid: [u32; 3],
        threads: u32,
        arguments: &[u8],
    ) -> Done {
        let mut size = arguments.len();
        // CU_LAUNCH_PARAM_BUFFER_POINTER, _SIZE and _END.
        let mut extra = [
            ptr::without_provenance_mut::<c_void>(1),
            arguments.as_ptr().cast_mut().cast(),
            ptr::without_provenance_mut(2),
            (&raw mut size).cast(),
            ptr::null_mut(),
        ];
        let ([x, y, z], stream) = (grid, self.0);
        let (none, extra) = (ptr::null_mut(), extra.as_mut_ptr());
        // SAFETY: the function lives as long as its module, which outlives all launches. The driver
        // copies the arguments and compares their size with the kernel's; that addresses in them are
        // of living memory of the sizes that the kernel expects is for the steps to see to, and what
        // the tests run them for under AddressSanitizer.
        let launch = || unsafe {
            sys::cuLaunchKernel(kernel.0, x, y, z, threads, 1, 1, 0, stream, none, extra)
        };
        check(launch())
    }

    pub(super) fn fill_with_zeros(&self, to: Address, bytes: usize) -> Done {
        // SAFETY: callers own `bytes` bytes at `to`.
        check(unsafe { sys::cuMemsetD8Async(to, 0, bytes, self.0) })
    }

    /// Copies to the device. The driver has taken `from` when this returns.
    pub(super) fn upload(&self, to: Address, from: &[u8]) -> Done {
        // SAFETY: callers own as many bytes at `to`; `from` is ordinary memory, which the driver
        // copies before it returns.
        check(unsafe { sys::cuMemcpyHtoDAsync_v2(to, from.as_ptr().cast(), from.len(), self.0) })
    }

    /// Copies from the device, after all work before it.
    pub(super) fn download(&self, to: &mut [u8], from: Address) -> Done {
        let (place, bytes) = (to.as_mut_ptr().cast(), to.len());
        // SAFETY: callers own as many bytes at `from`; `to` stays borrowed until the stream is done.
        check(unsafe { sys::cuMemcpyDtoHAsync_v2(place, from, bytes, self.0) })?;
        self.wait()
    }

    /// What `work` launches, as a graph.
    pub(super) fn record(&self, work: impl FnOnce() -> Done) -> Done<Graph> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives.
        check(unsafe { sys::cuStreamBeginCapture_v2(self.0, mode) })?;
        let launched = work();
        // SAFETY: the pointer is valid for the handle.
        let graph = returned(|to| unsafe { sys::cuStreamEndCapture(self.0, to) })?;
        // SAFETY: both pointers are of living objects.
        let made = returned(|to| unsafe { sys::cuGraphInstantiateWithFlags(to, graph, 0) });
        // SAFETY: what was made of the graph does not need it.
        check(unsafe { sys::cuGraphDestroy(graph) })?;
        launched?;
        made.map(Graph)
    }

    pub(super) fn replay(&self, graph: &Graph) -> Done {
        // SAFETY: graph and stream live.
        check(unsafe { sys::cuGraphLaunch(graph.0, self.0) })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: nobody else has the handle.
        let _ = unsafe { sys::cuStreamDestroy_v2(self.0) };
    }
}

/// Launches that are sent to the device at once.
#[derive(Debug)]
pub(super) struct Graph(sys::CUgraphExec);

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: nobody else has the handle; the driver waits where the graph is running.
        let _ = unsafe { sys::cuGraphExecDestroy(self.0) };
    }
}

/// Memory of the device.
#[derive(Debug)]
pub(super) struct Memory {
    address: Address,
    bytes: usize,
}

impl Memory {
    pub(super) fn new(bytes: usize) -> Done<Self> {
        // SAFETY: the pointer is valid for the address.
        let address = returned(|to| unsafe { sys::cuMemAlloc_v2(to, bytes.max(1)) })?;
        Ok(Self { address, bytes })
    }

    pub(super) const fn address(&self) -> Address {
        self.address
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: nobody else has the address; the driver waits for work that may use it.
        let _ = unsafe { sys::cuMemFree_v2(self.address) };
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
