//! A session: one sequence of tokens.

use core::ffi::c_void;

use minigpt_runtime::MemoryPlan;

use crate::any_session::{self, AnySession};
use crate::model::{ModelHandle, ModelRef, OpenModel};
use crate::object::{self, Kind, Object};
use crate::options::{self, SessionOptions};
use crate::pointers;
use crate::status::{Status, status};

/// `minigpt_session`.
#[derive(Debug)]
#[repr(C)]
pub struct SessionHandle {
    opaque: [u8; 0],
}

/// What lies behind the handle; the arena follows it.
pub(crate) struct OpenSession {
    pub(crate) model: ModelRef,
    pub(crate) session: AnySession<'static>,
}

impl Kind for OpenSession {
    type Handle = SessionHandle;
    const KIND: u32 = 0x6D67_5340;
}

/// Bytes before the arena, which begins aligned behind them.
const FRONT: usize = size_of::<Object<OpenSession>>();
const _: () = assert!(FRONT.is_multiple_of(object::ALIGNMENT));

/// A live session whose model lives.
///
/// # Safety
/// As the crate says.
pub(crate) unsafe fn live<'a>(handle: *const SessionHandle) -> Result<&'a OpenSession, Status> {
    // SAFETY: the caller promises it.
    let open: &OpenSession = unsafe { object::get(handle) }?;
    // SAFETY: the caller promises it.
    unsafe { open.model.get() }?;
    Ok(open)
}

/// [`live`], to be changed.
///
/// # Safety
/// As the crate says.
pub(crate) unsafe fn live_mut<'a>(
    handle: *mut SessionHandle,
) -> Result<&'a mut OpenSession, Status> {
    // SAFETY: the caller promises it.
    let open: &mut OpenSession = unsafe { object::get_mut(handle) }?;
    // SAFETY: the caller promises it.
    unsafe { open.model.get() }?;
    Ok(open)
}

/// A model and checked options for it.
///
/// # Safety
/// As the crate says.
unsafe fn planned<'a>(
    model: *const ModelHandle,
    options: *const SessionOptions,
) -> Result<(&'a OpenModel, minigpt_runtime::SessionOptions), Status> {
    // SAFETY: the caller promises it.
    let model: &OpenModel = unsafe { object::get(model) }?;
    // SAFETY: the caller promises it.
    let options = unsafe { options::read(options) }?.checked()?;
    if any_session::is_built(model.file.format()) {
        Ok((model, options))
    } else {
        Err(Status::FileFormat)
    }
}

/// Bytes of a session in all.
fn bytes(model: &OpenModel, options: &minigpt_runtime::SessionOptions) -> Result<usize, Status> {
    let file = &model.file;
    let arena = MemoryPlan::new(file.config(), file.format(), options).total();
    let bytes = usize::try_from(arena).ok();
    let bytes = bytes.and_then(|arena| arena.checked_add(FRONT));
    bytes.ok_or(Status::TooLarge)
}

/// Memory that a session takes.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_session_bytes(
    model: *const ModelHandle,
    options: *const SessionOptions,
    bytes: *mut usize,
) -> i32 {
    status(|| {
        // SAFETY: the caller promises it.
        let (model, options) = unsafe { planned(model, options) }?;
        // SAFETY: the caller promises it.
        let out = unsafe { pointers::out(bytes) }?;
        out.write(self::bytes(model, &options)?);
        Ok(())
    })
}

/// The longest context for a given memory.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_session_fit(
    model: *const ModelHandle,
    options: *const SessionOptions,
    bytes: usize,
    n_ctx: *mut u32,
) -> i32 {
    status(|| {
        // SAFETY: the caller promises it.
        let (model, options) = unsafe { planned(model, options) }?;
        // SAFETY: the caller promises it.
        let out = unsafe { pointers::out(n_ctx) }?;
        let file = &model.file;
        let arena = bytes.saturating_sub(FRONT) as u64;
        let fitted = options.fitted(file.config(), file.format(), arena);
        if self::bytes(model, &fitted)? > bytes {
            return Err(Status::MemoryTooSmall);
        }
        out.write(fitted.n_ctx as u32);
        Ok(())
    })
}

/// Begins a session.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_session_init(
    model: *const ModelHandle,
    options: *const SessionOptions,
    memory: *mut c_void,
    memory_bytes: usize,
    session: *mut *mut SessionHandle,
) -> i32 {
    status(|| {
        // SAFETY: the caller promises it.
        let out = unsafe { pointers::out(session) }?;
        // SAFETY: the caller promises it.
        let (open, options) = unsafe { planned(model, options) }?;
        let memory: *mut u8 = memory.cast();
        object::check_room::<OpenSession>(memory, memory_bytes)?;
        let needed = bytes(open, &options)?;
        if memory_bytes < needed {
            return Err(Status::MemoryTooSmall);
        }
        let handle_bytes = size_of::<Object<OpenModel>>();
        if pointers::overlap(memory, needed, open.at, open.file.len())
            || pointers::overlap(memory, needed, model.cast(), handle_bytes)
        {
            return Err(Status::Overlap);
        }
        // SAFETY: `FRONT` is less than `needed`.
        let arena = unsafe { memory.add(FRONT) };
        // SAFETY: the caller promises the memory, of which no other part reaches here.
        let arena: &'static mut [u8] = unsafe { pointers::array_mut(arena, needed - FRONT) }?;
        let opened = OpenSession {
            // SAFETY: the caller promises it.
            model: unsafe { ModelRef::new(model) }?,
            session: AnySession::new(&open.file, arena, &options)?,
        };
        // SAFETY: the caller promises it; the arena begins behind the object.
        out.write(unsafe { object::place(memory, FRONT, opened) }?);
        Ok(())
    })
}

/// Ends the use of a session.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_session_close(session: *mut SessionHandle) -> i32 {
    // SAFETY: the caller promises it.
    status(|| unsafe { object::close::<OpenSession>(session) })
}
