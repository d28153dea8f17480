//! The kernels as they lie in `kernels/prebuilt`, made by `cargo xtask cuda`.

use super::driver::{Failed, Module};

/// PTX of compute capability 8.0, which drivers compile for devices of later generations.
const PTX: &[u8] = include_bytes!("kernels/prebuilt/compute_80.ptx.deflate");

/// Programs of the devices of capability `.0` up to before that of the next one, or to the end of
/// its generation.
const CUBINS: [((u32, u32), &[u8]); 4] = [
    (
        (8, 0),
        include_bytes!("kernels/prebuilt/sm_80.cubin.deflate"),
    ),
    (
        (8, 6),
        include_bytes!("kernels/prebuilt/sm_86.cubin.deflate"),
    ),
    (
        (8, 9),
        include_bytes!("kernels/prebuilt/sm_89.cubin.deflate"),
    ),
    (
        (9, 0),
        include_bytes!("kernels/prebuilt/sm_90a.cubin.deflate"),
    ),
];

/// Loads what fits a device of `capability`.
pub(super) fn load(capability: (u32, u32)) -> Result<Module, Failed> {
    let fits = |cubin: &&((u32, u32), &[u8])| {
        let same_generation = cubin.0.0 == capability.0;
        // A program for 9.0a runs on 9.0 alone.
        same_generation && cubin.0 <= capability && (cubin.0.0 < 9 || cubin.0 == capability)
    };
    let image = CUBINS.iter().rev().find(fits).map_or(PTX, |cubin| cubin.1);
    Module::load(&inflated(image))
}

/// PTX ends in a zero, which a cubin does not mind.
fn inflated(image: &[u8]) -> Vec<u8> {
    let mut image = miniz_oxide::inflate::decompress_to_vec(image)
        .expect("the file is whole: cargo xtask cuda --check compares it with its source");
    image.push(0);
    image
}

/// The enum of all kernels and their names, which are those in the sources.
macro_rules! kernels {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// A kernel.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Kernel {
            $($variant),+
        }

        impl Kernel {
            pub(super) const ALL: &[Self] = &[$(Self::$variant),+];

            pub(super) const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }
        }
    };
}

kernels! {
    SetValues = "set_values",
    DrawWindows = "draw_windows",
    EmbedForward = "embed_forward",
    TokenGradient = "token_gradient",
    PositionGradient = "position_gradient",
    NormForward = "norm_forward",
    NormBackward = "norm_backward",
    ColumnSums = "column_sums",
    AddParts = "add_parts",
    Swiglu = "swiglu",
    RoundValues = "round_values",
    Classifier = "classifier",
    Total = "total",
    Squares = "squares",
    Adamw = "adamw",
    MuonMomentum = "muon_momentum",
    MuonStart = "muon_start",
    MuonUpdate = "muon_update",
    Average = "average",
    Qkv64 = "linear_qkv_64",
    Qkv128 = "linear_qkv_128",
    Fc64 = "linear_fc_64",
    Fc128 = "linear_fc_128",
    Residual64 = "linear_residual_64",
    Residual128 = "linear_residual_128",
    Logits64 = "linear_logits_64",
    Logits128 = "linear_logits_128",
    Inputs64 = "linear_inputs_64",
    Inputs128 = "linear_inputs_128",
    FcBackward64 = "linear_fc_backward_64",
    FcBackward128 = "linear_fc_backward_128",
    Weights64 = "linear_weights_64",
    Weights128 = "linear_weights_128",
    CombineRows64 = "combine_rows_64",
    CombineRows128 = "combine_rows_128",
    CombineColumns64 = "combine_columns_64",
    CombineColumns128 = "combine_columns_128",
    CombineAcross64 = "combine_across_64",
    CombineAcross128 = "combine_across_128",
    AttentionDots = "attention_dots",
    AttentionForward16 = "attention_forward_16",
    AttentionForward32 = "attention_forward_32",
    AttentionForward64 = "attention_forward_64",
    AttentionForward128 = "attention_forward_128",
    AttentionQueries16 = "attention_backward_queries_16",
    AttentionQueries32 = "attention_backward_queries_32",
    AttentionQueries64 = "attention_backward_queries_64",
    AttentionQueries128 = "attention_backward_queries_128",
    AttentionKeys16 = "attention_backward_keys_16",
    AttentionKeys32 = "attention_backward_keys_32",
    AttentionKeys64 = "attention_backward_keys_64",
    AttentionKeys128 = "attention_backward_keys_128",
}
