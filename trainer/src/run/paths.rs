//! Where the files of a run are.

use std::path::PathBuf;

use super::{CHECKPOINTS, EVENTS, LOADED, MODEL, PICTURE, Run, SAMPLES, TABLE};

impl Run {
    /// Where its checkpoints are.
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join(CHECKPOINTS)
    }

    /// Where its texts are.
    #[must_use]
    pub fn samples(&self) -> PathBuf {
        self.path.join(SAMPLES)
    }

    /// Where its loss curve is.
    #[must_use]
    pub fn picture(&self) -> PathBuf {
        self.path.join(PICTURE)
    }

    /// Where its record is as a table.
    #[must_use]
    pub fn table(&self) -> PathBuf {
        self.path.join(TABLE)
    }

    /// Where its event files of TensorBoard are.
    #[must_use]
    pub fn events(&self) -> PathBuf {
        self.path.join(EVENTS)
    }

    /// Where it says what came from the model to begin with.
    #[must_use]
    pub fn loaded(&self) -> PathBuf {
        self.path.join(LOADED)
    }

    /// Where its result is.
    #[must_use]
    pub fn model(&self) -> PathBuf {
        self.path.join(MODEL)
    }
}
