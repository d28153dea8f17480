//! C and C++ programs on this machine against the library: tests and examples.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::{boards, missing, output};
use super::texts::{self, MODELS, Text};
use super::{FOLDER, SYSTEM_LIBRARIES, header, told};

/// Flags that let no warning pass.
pub(super) const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-pedantic"];

/// Tests and examples with every compiler there is.
pub(super) fn check(installed: &Path) -> Result<(), String> {
    let texts = texts::all()?;
    for compiler in ["gcc", "clang"] {
        if output(compiler, &["--version"]).is_empty() {
            missing("cc", compiler, &format!("apt-get install {compiler}"))?;
            continue;
        }
        let hosted = Hosted {
            compiler,
            installed,
        };
        hosted.every_function()?;
        hosted.ctest(&[], &mut Command::new("env"))?;
        hosted.examples(&texts)?;
        println!("xtask: {compiler}: tests and examples in C");
    }
    let hosted = Hosted {
        compiler: "gcc",
        installed,
    };
    if !output("gcc", &["--version"]).is_empty() {
        let sanitized = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
        hosted.ctest(&sanitized, &mut Command::new("env"))?;
        println!("xtask: tests in C under AddressSanitizer");
        hosted.valgrind()?;
        hosted.pkg_config(&texts)?;
    }
    cpp(installed, &texts)?;
    cmake(installed, &texts)
}

/// A compiler and the library it compiles against.
struct Hosted<'a> {
    compiler: &'a str,
    installed: &'a Path,
}

impl Hosted<'_> {
    fn out(&self, name: &str) -> PathBuf {
        self.installed.join(format!("{name}-{}", self.compiler))
    }

    /// Compiles `sources`, with the static library, to a program called `name`.
    fn compile(&self, name: &str, sources: &[PathBuf], flags: &[&str]) -> Result<PathBuf, String> {
        let program = self.out(name);
        let mut command = Command::new(self.compiler);
        command
            .args(["-std=c11", "-g", "-O1"])
            .args(WARNINGS)
            .args(flags);
        command.arg("-I").arg(self.installed.join("include"));
        command.arg("-I").arg(self.installed);
        command
            .args(sources)
            .arg(self.installed.join("lib/libminigpt.a"));
        command.args(SYSTEM_LIBRARIES.split(' '));
        told(command.arg("-o").arg(&program))?;
        Ok(program)
    }

    /// Links every function of the header, and reads the header as C99.
    fn every_function(&self) -> Result<(), String> {
        let source = self.installed.join(header::CALLER);
        let program = self.compile("every", core::slice::from_ref(&source), &["-std=c99"])?;
        told(&mut Command::new(program)).map(|_| ())
    }

    /// The tests, as `runner` runs them.
    fn ctest(&self, flags: &[&str], runner: &mut Command) -> Result<(), String> {
        let folder = Path::new(FOLDER).join("ctest");
        let sources = boards::files(&folder, "c")?;
        let flags = [&["-D_POSIX_C_SOURCE=200809L"], flags].concat();
        let program = self.compile("ctest", &sources, &flags)?;
        let models = boards::files(Path::new(MODELS), "mgpt")?;
        let bpe = Path::new(MODELS).join("v1-q8-bpe.mgpt");
        told(runner.arg(program).arg(bpe).args(models)).map(|_| ())
    }

    fn valgrind(&self) -> Result<(), String> {
        if output("valgrind", &["--version"]).is_empty() {
            return missing("valgrind", "valgrind", "apt-get install valgrind");
        }
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["-q", "--error-exitcode=1", "--leak-check=full"]);
        self.ctest(&[], &mut valgrind)?;
        println!("xtask: tests in C under valgrind");
        Ok(())
    }

    /// The examples, and what they say.
    fn examples(&self, texts: &[Text]) -> Result<(), String> {
        let example = |name: &str| [Path::new(FOLDER).join("examples/c").join(name)];
        let generate = self.compile("generate", &example("generate.c"), &[])?;
        says_texts(&generate, texts)?;
        let text = texts.last().ok_or("tests/data/capi.toml has no text")?;
        let model = text.model();
        // Seed, temperature and top-p of this text are those that the examples have.
        let threads = self.compile("threads", &example("threads.c"), &["-pthread"])?;
        let both = told(
            Command::new(threads)
                .arg(&model)
                .args([&text.prompt, &text.prompt]),
        )?;
        let lines: Vec<_> = both.split_inclusive('\n').collect();
        let (first, second) = both.split_at(both.len() / 2);
        if first != second || lines.is_empty() {
            return Err(format!(
                "threads.c: two threads say different texts: {both:?}"
            ));
        }
        self.embedded(&model, text)?;
        self.sliced(&model, text)
    }

    /// The model as an array.
    fn embedded(&self, model: &Path, text: &Text) -> Result<(), String> {
        let (model, array) = (model.display(), self.installed.join("model.inc"));
        let array = array.display();
        let made = format!("od -An -v -tu1 {model} | sed 's/[0-9]\\{{1,\\}}/&,/g' > {array}");
        told(Command::new("sh").args(["-c", &made]))?;
        let source = [Path::new(FOLDER).join("examples/c/embedded.c")];
        let program = self.compile("embedded", &source, &[])?;
        let said = told(Command::new(program).arg(&text.prompt))?;
        begins("embedded.c", &said, &text.text)
    }

    /// The same text whatever the budget.
    fn sliced(&self, model: &Path, text: &Text) -> Result<(), String> {
        let source = [Path::new(FOLDER).join("examples/c/sliced.c")];
        let program = self.compile("sliced", &source, &[])?;
        let tell = |budget: &str| {
            let mut command = Command::new(&program);
            told(command.arg(model).arg(&text.prompt).arg(budget))
        };
        let whole = tell("1000000000")?;
        for budget in ["1", "1000", "20000"] {
            let said = tell(budget)?;
            if said != whole {
                return Err(format!(
                    "sliced.c: budget {budget}: {said:?} and not {whole:?}"
                ));
            }
        }
        begins("sliced.c", &whole, &text.prompt)
    }

    /// The shared library, found by pkg-config.
    fn pkg_config(&self, texts: &[Text]) -> Result<(), String> {
        if output("pkg-config", &["--version"]).is_empty() {
            return missing("cmake", "pkg-config", "apt-get install pkg-config");
        }
        let library = absolute(&self.installed.join("lib"))?;
        let mut command = Command::new("pkg-config");
        command.env("PKG_CONFIG_PATH", library.join("pkgconfig"));
        let flags = told(command.args(["--cflags", "--libs", "minigpt"]))?;
        let program = self.out("generate-pkg-config");
        let mut command = Command::new("gcc");
        command.args(["-std=c11", "-o"]).arg(&program);
        command.arg(Path::new(FOLDER).join("examples/c/generate.c"));
        command.args(flags.split_whitespace());
        told(command.arg(format!("-Wl,-rpath,{}", library.display())))?;
        says_texts(&program, texts)?;
        println!("xtask: the shared library by pkg-config");
        Ok(())
    }
}

/// The example in C++, and the header as C++.
fn cpp(installed: &Path, texts: &[Text]) -> Result<(), String> {
    for compiler in ["g++", "clang++"] {
        if output(compiler, &["--version"]).is_empty() {
            let package = compiler.replace("clang++", "clang");
            missing("cc", compiler, &format!("apt-get install {package}"))?;
            continue;
        }
        let program = installed.join(format!("generate-{compiler}"));
        let mut command = Command::new(compiler);
        command.args(["-std=c++11", "-O1"]).args(WARNINGS);
        command.arg("-I").arg(installed.join("include"));
        command.arg(Path::new(FOLDER).join("examples/cpp/generate.cpp"));
        command.arg(installed.join("lib/libminigpt.a"));
        command.args(SYSTEM_LIBRARIES.split(' '));
        told(command.arg("-o").arg(&program))?;
        says_texts(&program, texts)?;
        println!("xtask: {compiler}: the example in C++");
    }
    Ok(())
}

/// All examples by CMake, against static and shared library.
fn cmake(installed: &Path, texts: &[Text]) -> Result<(), String> {
    if output("cmake", &["--version"]).is_empty() {
        return missing("cmake", "cmake", "apt-get install cmake");
    }
    let build = installed.join("cmake-build");
    let mut command = Command::new("cmake");
    command
        .arg("-S")
        .arg(installed.join("examples"))
        .arg("-B")
        .arg(&build);
    let prefix = absolute(installed)?;
    told(command.arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display())))?;
    told(Command::new("cmake").arg("--build").arg(&build))?;
    for program in ["generate", "generate-shared", "generate-cpp"] {
        says_texts(&build.join(program), texts)?;
    }
    println!("xtask: the examples by CMake");
    Ok(())
}

/// A program that takes `MODEL PROMPT TEMPERATURE TOP_P SEED MAX_TOKENS` says the texts.
fn says_texts(program: &Path, texts: &[Text]) -> Result<(), String> {
    for text in texts {
        let mut command = Command::new(program);
        command.arg(text.model()).arg(&text.prompt);
        command.args([text.temperature.to_string(), text.top_p.to_string()]);
        command.args([text.seed.to_string(), text.max_tokens.to_string()]);
        text.compare(&program.to_string_lossy(), &told(&mut command)?)?;
    }
    Ok(())
}

fn begins(who: &str, said: &str, start: &str) -> Result<(), String> {
    if said.starts_with(start) && said.len() > start.len() {
        return Ok(());
    }
    Err(format!("{who}: {said:?} does not go on from {start:?}"))
}

fn absolute(path: &Path) -> Result<PathBuf, String> {
    path.canonicalize()
        .map_err(|error| format!("{}: {error}", path.display()))
}
