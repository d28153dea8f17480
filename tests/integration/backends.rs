//! The backends that the suites run on. A new one gets a maker, its [`Tolerance`] and a module in
//! [`on_every_backend`]; the cases stay as they are.

use minigpt_tests::gpu;
use minigpt_trainer::Cpu;
use minigpt_trainer::backend::cuda::Cuda;

/// How near a backend comes to the reference and to itself.
pub(crate) struct Tolerance {
    /// Distance of a logit.
    pub(crate) logit: f64,
    /// Distance of a mean loss, nats.
    pub(crate) loss: f64,
    /// Relative distance of a tensor's gradient.
    pub(crate) gradient: f64,
    /// Relative distance of two results of the same sums in another order.
    pub(crate) order: f64,
    /// Relative distance of two results of the same steps: 0 where they are the same bits.
    pub(crate) repeat: f64,
    /// Distance of a parameter after three updates, as a share of the learning rate.
    pub(crate) update: f64,
    /// To what it rounds the factors of Muon's products.
    pub(crate) factor: fn(f64) -> f64,
    /// Distance of a value that Muon made orthogonal.
    pub(crate) orthogonal: f64,
}

/// The CPU's: computes in `f32` and repeats itself bit for bit.
pub(crate) const CPU: Tolerance = Tolerance {
    logit: 1e-4,
    loss: 1e-5,
    gradient: 1e-4,
    order: 1e-5,
    repeat: 0.0,
    update: 1e-3,
    factor: |x| x,
    orthogonal: 1e-3,
};

/// CUDA's: multiplies in `bf16`, which has 8 bits, and repeats itself bit for bit.
pub(crate) const CUDA: Tolerance = Tolerance {
    logit: 0.05,
    loss: 5e-3,
    // Of the smallest models, where few values cross the kink of a ReLU by rounding: wrong is 1.
    gradient: 0.3,
    order: 1e-2,
    repeat: 0.0,
    update: 1e-3,
    factor: |x| {
        // To the nearest of 8 bits, halves to even.
        let bits = (x as f32).to_bits();
        f64::from(f32::from_bits(
            (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000,
        ))
    },
    orthogonal: 0.05,
};

pub(crate) fn cpu() -> Cpu {
    Cpu::new(Some(2))
}

/// The GPU, or a simulated one; nothing where there is neither.
pub(crate) fn cuda() -> Option<impl Fn() -> Cuda> {
    let new = || Cuda::new(Cuda::find(0).unwrap()).unwrap();
    gpu::is_there().then_some(new)
}

/// Makes tests of cases, on every backend. A case is a function of a maker of backends and of
/// their [`Tolerance`].
macro_rules! on_every_backend {
    ($($case:ident),+ $(,)?) => {
        mod cpu {
            use crate::backends;
            $(
                #[test]
                fn $case() {
                    super::$case(&backends::cpu, &backends::CPU);
                }
            )+
        }

        mod cuda {
            use crate::backends;
            $(
                #[test]
                fn $case() {
                    if let Some(cuda) = backends::cuda() {
                        super::$case(&cuda, &backends::CUDA);
                    }
                }
            )+
        }
    };
}
pub(crate) use on_every_backend;

/// Whether tensors `a` are within relative distance `tolerance` of `b`.
pub(crate) fn assert_close(a: &[Vec<f32>], b: &[Vec<f32>], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        let square = |x: &f32| f64::from(*x).powi(2);
        let length: f64 = b.iter().map(square).sum();
        let distance: f64 = a.iter().zip(b).map(|(a, b)| square(&(a - b))).sum();
        assert!(
            length > 0.0 && (distance / length).sqrt() <= tolerance,
            "tensor {i}"
        );
    }
}
