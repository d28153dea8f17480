//! Work of a device: a queue of it, places in that, and graphs of launches.

use core::ffi::c_void;
use core::ptr;

use cudarc::driver::sys;

use super::{Address, Done, Function, check, returned};

/// A queue of work.
#[derive(Debug)]
pub(in crate::backend::cuda) struct Stream(sys::CUstream);

impl Stream {
    pub(in crate::backend::cuda) fn new() -> Done<Self> {
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: the pointer is valid for the handle.
        returned(|to| unsafe { sys::cuStreamCreate(to, flags) }).map(Self)
    }

    /// Waits until the work is done.
    pub(in crate::backend::cuda) fn wait(&self) -> Done {
        // SAFETY: the stream lives.
        check(unsafe { sys::cuStreamSynchronize(self.0) })
    }

    /// Runs `kernel` with `arguments`, the bytes of its one parameter.
    pub(in crate::backend::cuda) fn launch(
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

    pub(in crate::backend::cuda) fn fill_with_zeros(&self, to: Address, bytes: usize) -> Done {
        // SAFETY: callers own `bytes` bytes at `to`.
        check(unsafe { sys::cuMemsetD8Async(to, 0, bytes, self.0) })
    }

    /// Copies to the device. The driver has taken `from` when this returns.
    pub(in crate::backend::cuda) fn upload(&self, to: Address, from: &[u8]) -> Done {
        // SAFETY: callers own as many bytes at `to`; `from` is ordinary memory, which the driver
        // copies before it returns.
        check(unsafe { sys::cuMemcpyHtoDAsync_v2(to, from.as_ptr().cast(), from.len(), self.0) })
    }

    /// Copies from the device, after all work before it.
    pub(in crate::backend::cuda) fn download(&self, to: &mut [u8], from: Address) -> Done {
        let (place, bytes) = (to.as_mut_ptr().cast(), to.len());
        // SAFETY: callers own as many bytes at `from`; `to` stays borrowed until the stream is done.
        check(unsafe { sys::cuMemcpyDtoHAsync_v2(place, from, bytes, self.0) })?;
        self.wait()
    }

    /// What `work` launches, as a graph, and what it returns.
    pub(in crate::backend::cuda) fn record<R>(&self, work: impl FnOnce() -> R) -> Done<(R, Graph)> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives.
        check(unsafe { sys::cuStreamBeginCapture_v2(self.0, mode) })?;
        let done = work();
        // SAFETY: the pointer is valid for the handle.
        let graph = returned(|to| unsafe { sys::cuStreamEndCapture(self.0, to) })?;
        // SAFETY: both pointers are of living objects.
        let made = returned(|to| unsafe { sys::cuGraphInstantiateWithFlags(to, graph, 0) });
        // SAFETY: what was made of the graph does not need it.
        check(unsafe { sys::cuGraphDestroy(graph) })?;
        Ok((done, Graph(made?)))
    }

    /// The stream for libraries.
    pub(super) const fn handle(&self) -> sys::CUstream {
        self.0
    }

    /// Puts `event` behind the work so far.
    pub(in crate::backend::cuda) fn mark(&self, event: &Event) -> Done {
        // SAFETY: event and stream live.
        check(unsafe { sys::cuEventRecord(event.0, self.0) })
    }

    pub(in crate::backend::cuda) fn replay(&self, graph: &Graph) -> Done {
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
pub(in crate::backend::cuda) struct Graph(sys::CUgraphExec);

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: nobody else has the handle; where the graph is running, the driver frees it when it has run.
        let _ = unsafe { sys::cuGraphExecDestroy(self.0) };
    }
}

/// A place in a queue of work.
#[derive(Debug)]
pub(in crate::backend::cuda) struct Event(sys::CUevent);

impl Event {
    pub(in crate::backend::cuda) fn new() -> Done<Self> {
        let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
        // SAFETY: the pointer is valid for the handle.
        returned(|to| unsafe { sys::cuEventCreate(to, flags) }).map(Self)
    }

    /// Waits until the work before it is done.
    pub(in crate::backend::cuda) fn wait(&self) -> Done {
        // SAFETY: the event lives.
        check(unsafe { sys::cuEventSynchronize(self.0) })
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: nobody else has the handle.
        let _ = unsafe { sys::cuEventDestroy_v2(self.0) };
    }
}
