//! Products by cuBLASLt, or by a stand-in for it: those of our own kernels within rounding, launched with them.

use std::env;

use minigpt_runtime::config::{Config, Hyperparameters};
use minigpt_tests::{curve, gpu};
use minigpt_trainer::backend::Ahead;
use minigpt_trainer::backend::cuda::{Cuda, Demands};
use minigpt_trainer::train::train;
use minigpt_trainer::{AdamW, Batch, Gpt, PassOptions};
use tempfile::TempDir;

use crate::backends::cuda;
use crate::cuda::{again, cases, distance, pass, wider};
use crate::gradients::{Case, configs};
use crate::training::{create, last_weights};

/// Makers of devices without cuBLASLt and with it.
fn both() -> Option<(impl Fn() -> Cuda, impl Fn() -> Cuda)> {
    let (own, other) = (cuda()?, cuda()?);
    gpu::multiplies().then_some((own, move || other().with_cublaslt().unwrap()))
}

#[test]
fn a_pass_is_that_of_our_own_products() {
    let Some((own, library)) = both() else {
        return;
    };
    for (_, case) in cases().step_by(3) {
        let (own, other) = (pass(&case, own(), 0.1), pass(&case, library(), 0.1));
        assert!(
            (own.0 / other.0 - 1.0).abs() < 1e-3,
            "{} {}",
            own.0,
            other.0
        );
        for (own, other) in own.1.iter().zip(&other.1) {
            assert!(distance(own, other) < 0.02, "{:?}", case.config);
        }
        // The stand-in's sums have another order, so that it is seen to take part.
        assert!(own.1 != other.1 || case.batch.rows() < 10 || gpu::objects().is_none());
        assert!(other == pass(&case, library(), 0.1));
    }
    assert!(gpu::objects().is_none_or(|alive| alive == 0));
}

#[test]
fn a_run_repeats_and_its_products_are_in_the_graph() {
    let Some((_, library)) = both() else {
        return;
    };
    let dir = TempDir::new().unwrap();
    let more = ["cublaslt=true", "dropout=0.1", "accumulation=2"];
    let results = [0, 0, 5].map(|steps| {
        let name = dir.path().join("run").display().to_string();
        let ahead = Ahead {
            steps,
            seconds: f64::INFINITY,
        };
        let mut run = create(&dir, "run", &more);
        let before = gpu::calls();
        train(&mut run, library().with_ahead(ahead), false, &mut ()).unwrap();
        if let (Some(before), Some(after)) = (before, gpu::calls()) {
            // Two passes a step, all but the first few as graphs.
            let replayed = after["cuGraphLaunch"] - before.get("cuGraphLaunch").unwrap_or(&0);
            assert!(replayed > 40, "{replayed}");
        }
        let result = (curve(run.path()), last_weights(run.path()));
        drop(run);
        std::fs::remove_dir_all(name).unwrap();
        result
    });
    assert!(results[0] == results[1] && results[0] == results[2]);
}

#[test]
fn memory_is_what_was_said() {
    let Some((own, library)) = both() else {
        return;
    };
    let (_, config) = configs().next().unwrap();
    let config = Config::new(Hyperparameters {
        ..wider(config, 64, 200)
    })
    .unwrap();
    let batch = Batch {
        n_batch: 2,
        n_time: config.n_ctx(),
    };
    let used = |cuda| {
        let mut model = Gpt::new(cuda, config, batch, 1).unwrap();
        let ids = vec![1; batch.rows()];
        let options = PassOptions {
            dropout: 0.0,
            seed: 1,
            micro_step: 0,
            accumulation: 1,
        };
        model.accumulate(&ids, &ids, options).unwrap();
        model.update(&AdamW::default(), 1).unwrap();
        model.bytes()
    };
    let said = |cublaslt| {
        let demands = Demands {
            cublaslt,
            ..Demands::default()
        };
        Cuda::find(0)
            .unwrap()
            .needed(&config, batch.n_batch, demands)
    };
    // The workspace; and no parts of sums, which only our own kernels keep.
    let more = used(library()) as i64 - used(own()) as i64;
    assert!(
        (said(true) - said(false)) as i64 >= more && more > 30 << 20,
        "{more}"
    );
}

#[test]
fn products_that_the_library_refuses_are_our_own() {
    let Some((_, library)) = both().filter(|_| gpu::objects().is_some()) else {
        return;
    };
    const REFUSED: &str = "MINIGPT_FAKE_REFUSED";
    if env::var_os(REFUSED).is_none() {
        let name = "cuda_lt::products_that_the_library_refuses_are_our_own";
        return again(&[name], &[(REFUSED, "1")]);
    }
    let (_, config) = configs().nth(4).unwrap();
    let batch = Batch {
        n_batch: 2,
        n_time: 33,
    };
    let case = Case::new(Config::new(wider(config, 40, 77)).unwrap(), batch, 3);
    let (own, other) = (
        pass(&case, cuda().unwrap()(), 0.0),
        pass(&case, library(), 0.0),
    );
    for (own, other) in own.1.iter().zip(&other.1) {
        assert!(distance(own, other) < 0.02);
    }
}
