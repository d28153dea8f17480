//! NVIDIA's run-time compiler, loaded from where pip put it.
#![allow(
    unsafe_code,
    reason = "calls of a C library; no other module of xtask makes any"
)]

use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr;
use std::ffi::CString;
use std::fs;
use std::path::Path;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

/// Version of the package. Another one makes other programs.
pub(super) const PACKAGE: &str = "12.2.140";

/// Its files: what the compiler itself looks for is loaded first.
const LIBRARIES: [&str; 2] = ["libnvrtc-builtins.so.12.2", "libnvrtc.so.12"];

type Program = *mut c_void;

/// The compiler.
pub(super) struct Nvrtc(Library);

/// The kernels' texts.
pub(super) struct Source {
    main: CString,
    names: Vec<CString>,
    texts: Vec<CString>,
}

/// What came of them.
pub(super) struct Compiled {
    /// PTX or cubin.
    pub(super) image: Vec<u8>,
    /// What the compiler said.
    pub(super) log: String,
}

impl Source {
    /// `kernels.cu` in `folder`, and what it includes.
    pub(super) fn read(folder: &Path) -> Result<Self, String> {
        let read = |path: &Path| {
            let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
            CString::new(bytes).map_err(|_| format!("{} holds a zero byte", path.display()))
        };
        let entries = fs::read_dir(folder);
        let entries = entries.map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "cuh"));
        paths.sort();
        let name = |path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            CString::new(&*name).unwrap_or_default()
        };
        Ok(Self {
            main: read(&folder.join("kernels.cu"))?,
            names: paths.iter().map(|path| name(path)).collect(),
            texts: paths
                .iter()
                .map(|path| read(path))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl Nvrtc {
    /// From `folder`; nothing if it is not there.
    pub(super) fn load(folder: &Path) -> Result<Option<Self>, String> {
        if LIBRARIES.iter().any(|name| !folder.join(name).exists()) {
            return Ok(None);
        }
        let mut last = None;
        for name in LIBRARIES {
            let path = folder.join(name);
            // SAFETY: NVIDIA's libraries have no initialisers that ask anything of their caller.
            let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) };
            let library = library.map_err(|error| format!("{}: {error}", path.display()))?;
            // The compiler asks for the first by its name: it stays.
            if let Some(before) = last.replace(library) {
                core::mem::forget(before);
            }
        }
        Ok(last.map(Self))
    }

    /// A function of the library.
    fn function<T: Copy>(&self, name: &str) -> Result<T, String> {
        // SAFETY: callers name the type that NVIDIA's `nvrtc.h` gives the function.
        let function = unsafe { self.0.get::<T>(name.as_bytes()) };
        let function = function.map_err(|error| format!("{name}: {error}"))?;
        Ok(*function)
    }

    /// `source` for `target`, as `kind`: `ptx` or `cubin`.
    pub(super) fn compile(
        &self,
        source: &Source,
        target: &str,
        kind: &str,
    ) -> Result<Compiled, String> {
        type Create = unsafe extern "C" fn(
            *mut Program,
            *const c_char,
            *const c_char,
            c_int,
            *const *const c_char,
            *const *const c_char,
        ) -> c_int;
        type Compile = unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int;
        let create: Create = self.function("nvrtcCreateProgram")?;
        let compile: Compile = self.function("nvrtcCompileProgram")?;
        let names: Vec<_> = source.names.iter().map(|name| name.as_ptr()).collect();
        let texts: Vec<_> = source.texts.iter().map(|text| text.as_ptr()).collect();
        let mut program = ptr::null_mut();
        let (main, count) = (source.main.as_ptr(), names.len() as c_int);
        let (names, texts) = (names.as_ptr(), texts.as_ptr());
        let name = c"kernels.cu".as_ptr();
        // SAFETY: all strings end in zero and live until after the call, which copies them; the lists
        // have the length that is said.
        let code = unsafe { create(&raw mut program, main, name, count, texts, names) };
        succeeded("nvrtcCreateProgram", code)?;
        let architecture = CString::new(format!("--gpu-architecture={target}")).unwrap_or_default();
        let options = [
            architecture.as_c_str(),
            c"--std=c++17",
            c"-default-device",
            c"--ptxas-options=-v",
        ];
        let options = options.map(CStr::as_ptr);
        // SAFETY: the program was created; the options end in zero and their number is right.
        let code = unsafe { compile(program, options.len() as c_int, options.as_ptr()) };
        let log = self.bytes(program, "ProgramLog")?;
        let log = String::from_utf8_lossy(&log).into_owned();
        if code != 0 || log.contains("warning") {
            return Err(format!("NVRTC for {target}: {log}"));
        }
        let image = self.bytes(program, if kind == "ptx" { "PTX" } else { "CUBIN" })?;
        Ok(Compiled { image, log })
    }

    /// What `nvrtcGet` + `what` returns; without the zero that a text ends in.
    fn bytes(&self, program: Program, what: &str) -> Result<Vec<u8>, String> {
        type Size = unsafe extern "C" fn(Program, *mut usize) -> c_int;
        type Bytes = unsafe extern "C" fn(Program, *mut u8) -> c_int;
        let (size_name, name) = (format!("nvrtcGet{what}Size"), format!("nvrtcGet{what}"));
        let size: Size = self.function(&size_name)?;
        let bytes: Bytes = self.function(&name)?;
        let mut n = 0;
        // SAFETY: the program was created and the pointer is valid for a size.
        succeeded(&size_name, unsafe { size(program, &raw mut n) })?;
        let mut to = vec![0; n];
        // SAFETY: there is room for as many bytes as were said.
        succeeded(&name, unsafe { bytes(program, to.as_mut_ptr()) })?;
        if what != "CUBIN" && to.last() == Some(&0) {
            to.pop();
        }
        Ok(to)
    }
}

fn succeeded(name: &str, code: c_int) -> Result<(), String> {
    match code {
        0 => Ok(()),
        code => Err(format!("{name} failed with code {code}")),
    }
}
