//! Which device a simulated GPU makes of a choice, and whose memory a run is planned with.

use std::env;
use std::path::PathBuf;

use minigpt_tests::gpu;
use minigpt_trainer::BackendError;
use minigpt_trainer::backend::cuda::{Cuda, Demands};
use minigpt_trainer::device::{self, Choice, Device, DeviceError};
use minigpt_trainer::run::{Inputs, Run, RunError};
use minigpt_trainer::run_config::{Recompute, RunConfig};
use minigpt_trainer::train::{Ending, TrainError, train};
use tempfile::TempDir;

use crate::cuda::again;
use crate::training::settings;

/// Bytes of the device's memory.
const MEMORY: &str = "MINIGPT_FAKE_MEMORY";
/// A kernel that does nothing.
const IDLE: &str = "MINIGPT_FAKE_IDLE";

fn create(dir: &TempDir, settings: &RunConfig, choice: Choice) -> Result<Run, RunError> {
    let inputs = Inputs::read(&settings.data).unwrap();
    Run::create(&path(dir), settings.clone(), &inputs, choice, &mut |_| ())
}

fn path(dir: &TempDir) -> PathBuf {
    dir.path().join("run")
}

/// The device for `run`, and what was said against the GPU.
fn chosen(run: &Run, choice: Choice) -> (Result<Device, DeviceError>, Option<String>) {
    let mut said = None;
    let device = choice.device(&run.settings, &run.config, &mut |error| {
        said = Some(error.to_string());
    });
    (device, said)
}

#[test]
fn a_large_gpu_trains_what_the_host_has_no_memory_for() {
    if gpu::simulator().is_none() {
        return;
    }
    if env::var_os(MEMORY).is_none() {
        let name = "cuda_plans::a_large_gpu_trains_what_the_host_has_no_memory_for";
        return again(&[name], &[(MEMORY, "1000000000000000")]);
    }
    assert!(gpu::is_there());
    let dir = TempDir::new().unwrap();
    let settings = settings(&dir, &["batch=4000000000"]);
    let refused = create(&dir, &settings, Choice::Cpu).unwrap_err();
    assert!(matches!(refused, RunError::Memory { .. }), "{refused}");
    assert!(!path(&dir).exists());
    let run = create(&dir, &settings, Choice::Cuda(0)).unwrap();
    for choice in [Choice::Cuda(0), Choice::Auto] {
        let (device, said) = chosen(&run, choice);
        assert_eq!(said, None);
        let plan = run.plan(device.unwrap()).unwrap();
        assert!(matches!(plan.device, Device::Cuda { .. }));
        assert!(!plan.recompute && plan.needs.kept > 1_000_000_000_000);
        // A part of the model, whatever the batch.
        let n_params = run.settings.facts.as_ref().unwrap().n_params;
        let host = plan.host.unwrap();
        assert!(host > 0 && host <= 4 * n_params, "{host}");
    }
    let refused = run.plan(Device::Cpu).unwrap_err();
    assert!(matches!(refused, RunError::Memory { .. }), "{refused}");
}

#[test]
fn a_gpu_without_room_for_activations_makes_them_again_or_says_its_figures() {
    if gpu::simulator().is_none() {
        return;
    }
    assert!(gpu::is_there());
    let dir = TempDir::new().unwrap();
    let deep = ["n_layer=8", "batch=64", "steps=2", "eval_interval=2"];
    let settings = settings(&dir, &deep);
    let run = create(&dir, &settings, Choice::Cuda(0)).unwrap();
    let config = run.config;
    let needed = |n_batch, recompute| {
        let demands = Demands {
            recompute,
            ..Demands::default()
        };
        let found = Cuda::find(0).unwrap();
        found.needed(&config, n_batch, demands)
    };
    let between = needed(64, true).midpoint(needed(64, false));
    let Some(memory) = env::var_os(MEMORY) else {
        let name =
            "cuda_plans::a_gpu_without_room_for_activations_makes_them_again_or_says_its_figures";
        return again(&[name], &[(MEMORY, &between.to_string())]);
    };
    assert_eq!(memory.to_str(), Some(between.to_string().as_str()));
    assert_makes_activations_again(run);
    assert_says_its_figures(&dir, settings, &needed);
}

fn assert_makes_activations_again(mut run: Run) {
    let plan = run.plan(chosen(&run, Choice::Auto).0.unwrap()).unwrap();
    assert!(plan.recompute);
    let Device::Cuda { found, .. } = plan.device else {
        panic!("{plan:?}");
    };
    let new = || Cuda::new(found.clone()).unwrap();
    let kept = train(&mut run, new(), false, &mut ()).unwrap_err();
    assert!(
        matches!(
            kept,
            TrainError::Backend {
                error: BackendError::Memory { .. },
                ..
            }
        ),
        "{kept}"
    );
    let summary = train(&mut run, new(), plan.recompute, &mut ()).unwrap();
    assert_eq!((summary.ending, summary.step), (Ending::Finished, 2));
}

fn assert_says_its_figures(
    dir: &TempDir,
    mut settings: RunConfig,
    needed: &dyn Fn(usize, bool) -> u64,
) {
    let aside = TempDir::new_in(dir.path()).unwrap();
    settings.run.recompute = Recompute::Off;
    let run = create(&aside, &settings, Choice::Auto).unwrap();
    let (device, said) = chosen(&run, Choice::Cuda(0));
    let refused = device.unwrap_err();
    let DeviceError::Memory { free, batch, .. } = refused else {
        panic!("{refused}");
    };
    assert!(needed(batch, false) <= free && needed(batch + 1, false) > free);
    let (kept, recomputed) = (needed(64, false), needed(64, true));
    assert_eq!(
        refused.to_string(),
        format!(
            "simulated GPU has {free} bytes of memory free and at least {kept} are needed, {recomputed} with \
             recompute=on; at most --batch {batch} fits"
        )
    );
    // Where it is left open, the CPU does it.
    let (device, reason) = chosen(&run, Choice::Auto);
    assert_eq!((device.unwrap(), said), (Device::Cpu, None));
    assert_eq!(reason, Some(refused.to_string()));
    assert!(!run.plan(Device::Cpu).unwrap().recompute);
    drop(run);
    // What fits with no vocabulary is refused before anything is made.
    let aside = TempDir::new_in(dir.path()).unwrap();
    settings.training.batch = 4000;
    let refused = create(&aside, &settings, Choice::Cuda(0)).unwrap_err();
    assert!(
        matches!(&refused, RunError::Device(DeviceError::Memory { .. })),
        "{refused}"
    );
    assert!(!path(&aside).exists());
}

#[test]
fn a_gpu_is_checked_with_what_the_run_uses() {
    if gpu::simulator().is_none() {
        return;
    }
    let name = "cuda_plans::a_gpu_is_checked_with_what_the_run_uses";
    // A kernel, a setting that uses it, and one that does not.
    let cases = [
        ("adamw", "optimizer=adamw", None),
        ("muon_update", "optimizer=muon", Some("optimizer=adamw")),
        ("swiglu", "mlp=swiglu", Some("mlp=gelu")),
    ];
    let Some(idle) = env::var_os(IDLE) else {
        for (kernel, ..) in cases {
            again(&[name], &[(IDLE, kernel)]);
        }
        return;
    };
    assert!(gpu::is_there());
    let (dir, found) = (TempDir::new().unwrap(), Cuda::find(0).unwrap());
    let check = |more| device::check(&found, &settings(&dir, &[more]));
    for (_, with, without) in cases.into_iter().filter(|case| idle == case.0) {
        let error = check(with).unwrap_err();
        assert!(matches!(error, DeviceError::Wrong { .. }), "{error}");
        assert!(without.is_none_or(|without| check(without).is_ok()));
    }
}
