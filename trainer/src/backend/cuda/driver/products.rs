//! cuBLASLt, NVIDIA's library of matrix products: every call of it.

use core::ffi::c_void;
use core::ptr;

use cudarc::cublaslt::sys;

use super::{Address, Stream};

/// What a call of the library returned instead of success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::backend::cuda) struct Refused(sys::cublasStatus_t);

impl Refused {
    /// Its name in the library.
    pub(in crate::backend::cuda) fn message(self) -> String {
        format!("cuBLASLt says {:?}", self.0)
    }
}

type Done<T = ()> = Result<T, Refused>;

fn check(code: sys::cublasStatus_t) -> Done {
    match code {
        sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS => Ok(()),
        code => Err(Refused(code)),
    }
}

/// The handle that `call` makes.
fn made<T>(call: impl FnOnce(*mut *mut T) -> sys::cublasStatus_t) -> Done<*mut T> {
    let mut handle = ptr::null_mut();
    check(call(&raw mut handle))?;
    Ok(handle)
}

/// Whether the library is there. Before any other call: those panic without it.
pub(in crate::backend::cuda) fn library_is_present() -> bool {
    // SAFETY: loading the library runs its initialisers, as every program that uses it does.
    unsafe { sys::is_culib_present() }
}

/// A product `out = a b^T`, or a sum with it, as far as it decides how it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::backend::cuda) struct Form {
    /// `[m, n, k]`
    pub(in crate::backend::cuda) sizes: [usize; 3],
    /// Whether `a` lies as `[k, m]`, not `[m, k]`, and `b` as `[k, n]`, not `[n, k]`.
    pub(in crate::backend::cuda) across: [bool; 2],
    /// Whether the output is `f32`, not `bf16`.
    pub(in crate::backend::cuda) exact: bool,
    /// Whether it is added to what is there.
    pub(in crate::backend::cuda) adds: bool,
    /// Bytes that the addresses of `a`, `b` and the output are multiples of.
    pub(in crate::backend::cuda) aligned: [u32; 3],
}

/// The library in use.
#[derive(Debug)]
pub(in crate::backend::cuda) struct Library(sys::cublasLtHandle_t);

impl Library {
    pub(in crate::backend::cuda) fn new() -> Done<Self> {
        // SAFETY: the pointer is valid for the handle.
        made(|to| unsafe { sys::cublasLtCreate(to) }).map(Self)
    }

    /// How a product of `form` is done with a workspace of `room` bytes; nothing if the library knows no
    /// way. Sums have a fixed order.
    pub(in crate::backend::cuda) fn plan(&self, form: Form, room: usize) -> Done<Option<Plan>> {
        let operation = Operation::new(form)?;
        let [m, n, k] = form.sizes;
        let half = sys::cudaDataType_t::CUDA_R_16BF;
        let out = if form.exact {
            sys::cudaDataType_t::CUDA_R_32F
        } else {
            half
        };
        // The library counts columns first: it makes the output's transpose from `b` and `a`.
        let [across_a, across_b] = form.across;
        let layouts = [
            if across_b {
                Layout::new(half, n, k)?
            } else {
                Layout::new(half, k, n)?
            },
            if across_a {
                Layout::new(half, m, k)?
            } else {
                Layout::new(half, k, m)?
            },
            Layout::new(out, n, m)?,
        ];
        let preference = Preference::new(form, room)?;
        let mut found = sys::cublasLtMatmulHeuristicResult_t {
            algo: sys::cublasLtMatmulAlgo_t { data: [0; 8] },
            workspaceSize: 0,
            state: sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED,
            wavesCount: 0.0,
            reserved: [0; 4],
        };
        let mut count = 0;
        let [first, second, output] = [0, 1, 2].map(|i: usize| layouts[i].0);
        // SAFETY: all handles live, and there is room for one result.
        let asked = unsafe {
            sys::cublasLtMatmulAlgoGetHeuristic(
                self.0,
                operation.0,
                first,
                second,
                output,
                output,
                preference.0,
                1,
                &raw mut found,
                &raw mut count,
            )
        };
        if asked == sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED {
            return Ok(None);
        }
        check(asked)?;
        let usable = count == 1 && found.state == sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS;
        Ok(usable.then_some(Plan {
            operation,
            layouts,
            algorithm: found.algo,
            adds: form.adds,
        }))
    }

    /// Asks `stream` for a product of addresses `[a, b, out]`, with `workspace` of the bytes that it was
    /// planned with.
    pub(in crate::backend::cuda) fn multiply(
        &self,
        stream: &Stream,
        plan: &Plan,
        [a, b, out]: [Address; 3],
        (workspace, bytes): (Address, usize),
    ) -> Done {
        let (one, before) = (1.0f32, f32::from(u8::from(plan.adds)));
        let at = |address: Address| ptr::without_provenance_mut::<c_void>(address as usize);
        let [first, second, output] = [0, 1, 2].map(|i: usize| plan.layouts[i].0);
        // SAFETY: handles live; callers own memory of the sizes of the plan's form at the addresses. The library
        // reads the factors of the sum before it returns.
        check(unsafe {
            sys::cublasLtMatmul(
                self.0,
                plan.operation.0,
                (&raw const one).cast(),
                at(b),
                first,
                at(a),
                second,
                (&raw const before).cast(),
                at(out),
                output,
                at(out),
                output,
                &raw const plan.algorithm,
                at(workspace),
                bytes,
                stream.handle().cast(),
            )
        })
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: nobody else has the handle.
        let _ = unsafe { sys::cublasLtDestroy(self.0) };
    }
}

/// How products of a form are done.
#[derive(Debug)]
pub(in crate::backend::cuda) struct Plan {
    operation: Operation,
    /// Of `b`, `a` and the output.
    layouts: [Layout; 3],
    algorithm: sys::cublasLtMatmulAlgo_t,
    adds: bool,
}

#[derive(Debug)]
struct Operation(sys::cublasLtMatmulDesc_t);

impl Operation {
    fn new(form: Form) -> Done<Self> {
        use sys::cublasLtMatmulDescAttributes_t as Attribute;
        let (compute, scale) = (
            sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            sys::cudaDataType_t::CUDA_R_32F,
        );
        // SAFETY: the pointer is valid for the handle.
        let this =
            made(|to| unsafe { sys::cublasLtMatmulDescCreate(to, compute, scale) }).map(Self)?;
        let [across_a, across_b] = form.across;
        let turns = [
            (Attribute::CUBLASLT_MATMUL_DESC_TRANSA, !across_b),
            (Attribute::CUBLASLT_MATMUL_DESC_TRANSB, across_a),
        ];
        for (attribute, turned) in turns {
            // CUBLAS_OP_T and CUBLAS_OP_N.
            let turn = i32::from(turned);
            let (value, bytes) = ((&raw const turn).cast(), size_of_val(&turn));
            // SAFETY: the handle lives and the value is of that size.
            check(unsafe { sys::cublasLtMatmulDescSetAttribute(this.0, attribute, value, bytes) })?;
        }
        Ok(this)
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        // SAFETY: nobody else has the handle.
        let _ = unsafe { sys::cublasLtMatmulDescDestroy(self.0) };
    }
}

/// A matrix whose columns lie one after the other.
#[derive(Debug)]
struct Layout(sys::cublasLtMatrixLayout_t);

impl Layout {
    fn new(kind: sys::cudaDataType_t, rows: usize, columns: usize) -> Done<Self> {
        let (rows, columns, between) = (rows as u64, columns as u64, rows as i64);
        // SAFETY: the pointer is valid for the handle.
        let make =
            |to| unsafe { sys::cublasLtMatrixLayoutCreate(to, kind, rows, columns, between) };
        made(make).map(Self)
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        // SAFETY: nobody else has the handle.
        let _ = unsafe { sys::cublasLtMatrixLayoutDestroy(self.0) };
    }
}

/// What a way of doing a product must keep to.
struct Preference(sys::cublasLtMatmulPreference_t);

impl Preference {
    fn new(form: Form, room: usize) -> Done<Self> {
        use sys::cublasLtMatmulPreferenceAttributes_t as Attribute;
        // SAFETY: the pointer is valid for the handle.
        let this = made(|to| unsafe { sys::cublasLtMatmulPreferenceCreate(to) }).map(Self)?;
        this.set(
            Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
            room as u64,
        )?;
        // Parts of a sum are added in the workspace, in order, and not as they come.
        let ordered = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;
        this.set(
            Attribute::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
            ordered,
        )?;
        let [a, b, out] = form.aligned;
        this.set(Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, b)?;
        this.set(Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, a)?;
        this.set(Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, out)?;
        this.set(Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, out)?;
        Ok(this)
    }

    fn set<T: Copy>(&self, attribute: sys::cublasLtMatmulPreferenceAttributes_t, value: T) -> Done {
        let (at, bytes) = ((&raw const value).cast(), size_of::<T>());
        // SAFETY: the handle lives and the value is of that size.
        check(unsafe { sys::cublasLtMatmulPreferenceSetAttribute(self.0, attribute, at, bytes) })
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        // SAFETY: nobody else has the handle.
        let _ = unsafe { sys::cublasLtMatmulPreferenceDestroy(self.0) };
    }
}
