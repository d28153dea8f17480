//! Products by cuBLASLt, where a run wants that: those whose results are stored as they are.

use core::cell::RefCell;
use std::collections::HashMap;

use super::device::Device;
use super::driver::{Address, Form, Library, Memory, Plan, Refused, library_is_present};
use crate::backend::BackendError;

/// Bytes that the library may work in: what NVIDIA advises for Hopper.
pub(super) const WORKSPACE: usize = 32 << 20;

/// The library with all that it needs for the products so far.
#[derive(Debug)]
pub(super) struct Products {
    plans: RefCell<HashMap<Form, Option<Plan>>>,
    library: Library,
    workspace: Memory,
}

impl Products {
    pub(super) fn new(device: &Device) -> Result<Self, BackendError> {
        if !library_is_present() {
            return Err(BackendError::Unsupported {
                device: device.found.name.clone(),
                what: "the run wants cuBLASLt (cublaslt=true), and the loader finds no libcublasLt; CUDA's toolkit \
                       brings one, and so does PyTorch, in nvidia/cublas/lib of its site-packages: name that folder in \
                       LD_LIBRARY_PATH"
                    .into(),
            });
        }
        Ok(Self {
            plans: RefCell::default(),
            library: Library::new().map_err(|refused| device.refused(refused))?,
            workspace: device.zeros(WORKSPACE)?,
        })
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.workspace.bytes() as u64
    }

    /// Whether the library does products of `form`.
    pub(super) fn does(&self, form: Form) -> Result<bool, Refused> {
        if let Some(known) = self.plans.borrow().get(&form) {
            return Ok(known.is_some());
        }
        let plan = self.library.plan(form, WORKSPACE)?;
        let does = plan.is_some();
        self.plans.borrow_mut().insert(form, plan);
        Ok(does)
    }

    /// Asks `device` for a product of a `form` that it [`Self::does`]: `[a, b, out]`.
    pub(super) fn multiply(
        &self,
        device: &Device,
        form: Form,
        addresses: [Address; 3],
    ) -> Result<(), Refused> {
        let plans = self.plans.borrow();
        let plan = plans.get(&form).and_then(Option::as_ref);
        let plan = plan.expect("launches are of forms that the library does");
        let workspace = (self.workspace.address(), WORKSPACE);
        self.library
            .multiply(&device.stream, plan, addresses, workspace)
    }
}
