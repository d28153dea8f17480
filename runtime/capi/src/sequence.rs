//! What a session does with tokens.

use core::ffi::c_char;
use core::ptr;

use crate::any_session::AnySession;
use crate::pointers;
use crate::session::{SessionHandle, live, live_mut};
use crate::status::{Status, status};

/// Adds tokens and predicts.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_session_forward(
    session: *mut SessionHandle,
    tokens: *const u32,
    n_tokens: usize,
    logits: *mut *mut f32,
) -> i32 {
    status(|| {
        // SAFETY: the caller promises it.
        let open = unsafe { live_mut(session) }?;
        // SAFETY: the caller promises it.
        let tokens = unsafe { pointers::array(tokens, n_tokens) }?;
        // SAFETY: the caller promises it.
        let out = unsafe { pointers::out(logits) }?;
        out.write(open.session.forward(tokens)?.as_mut_ptr());
        Ok(())
    })
}

/// Begins to add tokens.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_session_begin(
    session: *mut SessionHandle,
    tokens: *const u32,
    n_tokens: usize,
) -> i32 {
    status(|| {
        // SAFETY: the caller promises it.
        let open = unsafe { live_mut(session) }?;
        // SAFETY: the caller promises it.
        let tokens = unsafe { pointers::array(tokens, n_tokens) }?;
        Ok(open.session.begin(tokens)?)
    })
}

/// Does a piece of what was begun.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_session_step(
    session: *mut SessionHandle,
    budget: usize,
    logits: *mut *mut f32,
) -> i32 {
    status(|| {
        // SAFETY: the caller promises it.
        let open = unsafe { live_mut(session) }?;
        // SAFETY: the caller promises it.
        let out = unsafe { pointers::out(logits) }?;
        let done = open.session.step(budget)?;
        out.write(done.map_or(ptr::null_mut(), <[f32]>::as_mut_ptr));
        Ok(())
    })
}

/// Makes room in a full context.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_session_slide(
    session: *mut SessionHandle,
    history: *mut u32,
    n_history: usize,
    n_keep: usize,
    n_kept: *mut usize,
    logits: *mut *mut f32,
) -> i32 {
    status(|| {
        // SAFETY: the caller promises it.
        let open = unsafe { live_mut(session) }?;
        // SAFETY: the caller promises it.
        let history = unsafe { pointers::array_mut(history, n_history) }?;
        // SAFETY: the caller promises it.
        let n_kept = unsafe { pointers::out(n_kept) }?;
        // SAFETY: the caller promises it.
        let out = unsafe { pointers::out(logits) }?;
        let (kept, logits) = open.session.slide(history, n_keep)?;
        n_kept.write(kept);
        out.write(logits.as_mut_ptr());
        Ok(())
    })
}

/// Writes a number of tokens that a session knows.
///
/// # Safety
/// As the crate says.
unsafe fn count(
    session: *const SessionHandle,
    n_tokens: *mut u32,
    of: fn(&AnySession<'static>) -> usize,
) -> Result<(), Status> {
    // SAFETY: the caller promises it.
    let open = unsafe { live(session) }?;
    // SAFETY: the caller promises it.
    unsafe { pointers::out(n_tokens) }?.write(of(&open.session) as u32);
    Ok(())
}

/// Tokens in the context.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_session_position(
    session: *const SessionHandle,
    n_tokens: *mut u32,
) -> i32 {
    // SAFETY: the caller promises it.
    status(|| unsafe { count(session, n_tokens, AnySession::position) })
}

/// Longest context.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_session_context(
    session: *const SessionHandle,
    n_tokens: *mut u32,
) -> i32 {
    // SAFETY: the caller promises it.
    status(|| unsafe { count(session, n_tokens, AnySession::n_ctx) })
}

/// The kernels in use.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_session_kernels(
    session: *const SessionHandle,
    text: *mut *const c_char,
    text_bytes: *mut usize,
) -> i32 {
    status(|| {
        // SAFETY: the caller promises it.
        let name = unsafe { live(session) }?.session.isa().name();
        // SAFETY: the caller promises it.
        let text = unsafe { pointers::out(text) }?;
        // SAFETY: the caller promises it.
        let text_bytes = unsafe { pointers::out(text_bytes) }?;
        text.write(name.as_ptr().cast());
        text_bytes.write(name.len());
        Ok(())
    })
}

/// Forgets all but the first tokens.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_session_truncate(
    session: *mut SessionHandle,
    n_tokens: usize,
) -> i32 {
    status(|| {
        // SAFETY: the caller promises it.
        unsafe { live_mut(session) }?.session.truncate(n_tokens);
        Ok(())
    })
}

/// Forgets everything.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_session_reset(session: *mut SessionHandle) -> i32 {
    status(|| {
        // SAFETY: the caller promises it.
        unsafe { live_mut(session) }?.session.reset();
        Ok(())
    })
}
