//! `--vary`: every combination of the values of some settings.

use core::slice::from_ref;
use std::path::{Path, PathBuf};

use crate::cmd::train::TrainArgs;
use crate::failure::Failure;

/// Steps of a variant where nobody says.
const STEPS: i64 = 200;

/// Validations of such a variant.
const VALIDATIONS: i64 = 10;

/// Most variants that one command trains.
const MOST: usize = 256;

/// One combination.
pub(super) struct Variant {
    /// `name=value` of each setting that is varied.
    assignments: Vec<String>,
}

impl Variant {
    /// All combinations of `varied`, such as `mlp=gelu,relu`; the last one varies fastest.
    pub(super) fn all(varied: &[String]) -> Result<Vec<Self>, Failure> {
        let mut all = vec![Vec::new()];
        for one in varied {
            let values = values(one)?;
            let longer = |assignments: &Vec<String>| -> Vec<Vec<String>> {
                let with = |value: &String| [&assignments[..], from_ref(value)].concat();
                values.iter().map(with).collect()
            };
            all = all.iter().flat_map(longer).collect();
            if all.len() > MOST {
                return Err(Failure::Misuse(format!(
                    "--vary makes more than {MOST} variants; give fewer values"
                )));
            }
        }
        let variant = |assignments| Self { assignments };
        Ok(all.into_iter().map(variant).collect())
    }

    /// What it is called in tables.
    pub(super) fn name(&self) -> String {
        self.assignments.join(" ")
    }

    /// The run directory below `out`.
    pub(super) fn directory(&self, out: &Path) -> PathBuf {
        let name = self.assignments.join(",");
        out.join(name.replace(|c: char| !c.is_alphanumeric() && !"=,._-+".contains(c), "-"))
    }

    /// What trains it, where `asked` is what all variants share.
    pub(super) fn args(&self, asked: &TrainArgs, out: &Path) -> TrainArgs {
        let mut args = asked.clone();
        if args.config.is_none() {
            let steps = *args.steps.get_or_insert(STEPS);
            // Below what is asked for, so that it wins.
            let interval = (steps / VALIDATIONS).max(1);
            args.set.insert(0, format!("eval_interval={interval}"));
        }
        args.set.extend(self.assignments.iter().cloned());
        args.out = Some(self.directory(out));
        args
    }
}

/// `name=value` for each value of `name=value,value`.
fn values(varied: &str) -> Result<Vec<String>, Failure> {
    let (name, values) = varied.split_once('=').unwrap_or((varied, ""));
    let mut found: Vec<String> = Vec::new();
    for value in values.split(',').map(str::trim) {
        let assignment = format!("{}={value}", name.trim());
        if value.is_empty() || found.contains(&assignment) {
            return Err(Failure::Misuse(format!(
                "--vary {varied}: give a setting and different values, such as mlp=gelu,relu"
            )));
        }
        found.push(assignment);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(varied: &[&str]) -> Vec<String> {
        let varied: Vec<String> = varied.iter().map(|&v| v.to_owned()).collect();
        let all = Variant::all(&varied).unwrap();
        all.iter().map(Variant::name).collect()
    }

    #[test]
    fn every_combination_is_there_once() {
        assert_eq!(
            names(&["mlp=gelu, relu", "seed=1,2"]),
            [
                "mlp=gelu seed=1",
                "mlp=gelu seed=2",
                "mlp=relu seed=1",
                "mlp=relu seed=2"
            ]
        );
        assert_eq!(names(&["mlp=gelu"]), ["mlp=gelu"]);
        let variants = Variant::all(&["tokenizer=bpe:512".to_owned()]).unwrap();
        assert_eq!(
            variants[0].directory(Path::new("a")),
            Path::new("a/tokenizer=bpe-512")
        );
    }

    #[test]
    fn what_is_no_list_of_values_is_refused() {
        for varied in ["mlp", "mlp=", "mlp=gelu,", "mlp=gelu,gelu"] {
            let all = Variant::all(&[varied.to_owned()]);
            assert!(matches!(all, Err(Failure::Misuse(_))), "{varied}");
        }
        let many: Vec<String> = (0..3).map(|i| format!("a{i}=1,2,3,4,5,6,7")).collect();
        assert!(matches!(Variant::all(&many), Err(Failure::Misuse(m)) if m.contains("256")));
    }
}
