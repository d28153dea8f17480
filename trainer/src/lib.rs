//! Training and export of small GPTs.
