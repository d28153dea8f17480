//! Data by name: sets that are known, addresses on the web, and the folder that keeps them.

mod address;
mod download;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use minigpt_trainer::data::sources::{self, FIELD, Reading, Source};
use minigpt_trainer::run::{Inputs, RunError};
use minigpt_trainer::run_config::{DataSettings, RunConfig};

use self::address::Address;
use self::download::Client;
use crate::failure::Failure;
use crate::progress::ByteProgress;

/// A data set that has a name.
struct Known {
    name: &'static str,
    /// What is to be validated on when it is learned.
    validation: Option<&'static str>,
    url: &'static str,
    sha256: Option<&'static str>,
}

/// All of them. Where an address names a commit, its content cannot change.
const KNOWN: [Known; 5] = [
    Known {
        name: "shakespeare",
        validation: None,
        url: "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt",
        sha256: Some("86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"),
    },
    Known {
        name: "wikitext-2",
        validation: Some("wikitext-2-valid"),
        url: "https://raw.githubusercontent.com/pytorch/examples/77f55b912142e11fcfdf5b530231fb9c52f181e8/word_language_model/data/wikitext-2/train.txt",
        sha256: None,
    },
    Known {
        name: "wikitext-2-valid",
        validation: None,
        url: "https://raw.githubusercontent.com/pytorch/examples/77f55b912142e11fcfdf5b530231fb9c52f181e8/word_language_model/data/wikitext-2/valid.txt",
        sha256: Some("f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8"),
    },
    Known {
        name: "tinystories",
        validation: Some("tinystories-valid"),
        url: "https://huggingface.co/datasets/roneneldan/TinyStories/resolve/main/TinyStoriesV2-GPT4-train.txt",
        sha256: None,
    },
    Known {
        name: "tinystories-valid",
        validation: None,
        url: "https://huggingface.co/datasets/roneneldan/TinyStories/resolve/main/TinyStoriesV2-GPT4-valid.txt",
        sha256: None,
    },
];

fn known(path: &Path) -> Option<&'static Known> {
    // A file of that name is what is meant.
    let absent = !path.exists();
    KNOWN
        .iter()
        .find(|known| absent && path.to_str() == Some(known.name))
}

/// Adds the validation part of a data set that is learned by its name, where nothing else was asked
/// for.
pub(crate) fn complete(data: &mut DataSettings) {
    if let ([path], []) = (&data.files[..], &data.val_files[..]) {
        let validation = known(path).and_then(|known| known.validation);
        data.val_files = validation.map(PathBuf::from).into_iter().collect();
    }
}

/// The texts that `settings` name; what is not on this machine is downloaded.
pub(crate) fn inputs(settings: &DataSettings) -> Result<Inputs, Failure> {
    let located = located(settings.files.iter().chain(&settings.val_files))?;
    Ok(Inputs::read_located(settings, &located)?)
}

/// The texts of `paths`, likewise.
pub(crate) fn texts(paths: &[PathBuf]) -> Result<Vec<Source>, Failure> {
    let located = located(paths.iter())?;
    let texts = sources::read_as(paths, &Reading::new(FIELD, &located));
    Ok(texts.map_err(RunError::from)?)
}

/// What has become of the files that a run learned from, if they are not what they were. Names and addresses are
/// not looked up.
pub(crate) fn changed(settings: &RunConfig) -> Option<String> {
    let (data, facts) = (&settings.data, settings.facts.as_ref()?);
    let none = BTreeMap::new();
    let reading = Reading::new(&data.text_field, &none);
    let parts = [
        (&data.files, &facts.data),
        (&data.val_files, &facts.val_data),
    ];
    parts.into_iter().find_map(|(files, facts)| {
        let is_file = |path: &PathBuf| !matches!(Address::of(path), Ok(Some(_)));
        if files.is_empty() || !files.iter().all(is_file) {
            return None;
        }
        match sources::read_as(files, &reading) {
            Err(error) => Some(error.to_string()),
            Ok(texts) if texts.len() != facts.len() => Some(format!(
                "the data were {} files and are {}",
                facts.len(),
                texts.len()
            )),
            Ok(texts) => {
                let mut pairs = texts.iter().map(Source::fingerprint).zip(facts);
                let (now, _) = pairs.find(|(now, then)| now != *then)?;
                Some(format!("{} is not what it was", now.path))
            }
        }
    })
}

/// The files of the cache that stand for those of `paths` that are names or addresses.
fn located<'p>(
    paths: impl Iterator<Item = &'p PathBuf>,
) -> Result<BTreeMap<PathBuf, PathBuf>, Failure> {
    let mut located = BTreeMap::new();
    for path in paths {
        let Some(address) = Address::of(path)? else {
            continue;
        };
        let cache = dirs::cache_dir().ok_or_else(|| {
            Failure::Failed(
                "there is no home folder to keep data in; set HOME or give a file".to_owned(),
            )
        })?;
        let directory = cache.join("minigpt/data").join(address.key());
        let mut progress = ByteProgress::new(&address.asked);
        let file = Client::new().fetch(&address, &directory, &mut |done, total| {
            progress.set(done, total);
        });
        progress.finish();
        located.insert(path.clone(), file?);
    }
    Ok(located)
}
