// SPDX-License-Identifier: Apache-2.0

//! One sequence of checks for two purposes: a verdict, which ends at the first failure, and an account
//! for people, which goes on where it can.

use evidence_claims::{Check, Outcome};

use crate::DcapRefusal;

/// What is told of each check.
pub(crate) trait Trace {
    /// A check on which nothing further is built.
    fn check(
        &mut self,
        what: &'static str,
        check: impl FnOnce() -> Result<(), DcapRefusal>,
    ) -> Result<(), DcapRefusal>;

    /// A check that yields what further ones are made on.
    fn value<T>(
        &mut self,
        what: &'static str,
        check: impl FnOnce() -> Result<T, DcapRefusal>,
    ) -> Result<T, DcapRefusal>;

    /// What the last check saw.
    fn saw(&mut self, what: impl FnOnce() -> String);

    /// A check that does not apply.
    fn skip(&mut self, what: &'static str, why: &'static str);

    /// Whether it can go on without the result of a group of checks.
    fn bear<T>(&mut self, result: Result<T, DcapRefusal>) -> Result<Option<T>, DcapRefusal>;
}

/// For a verdict.
pub(crate) struct Verdict;

impl Trace for Verdict {
    fn check(
        &mut self,
        _: &'static str,
        check: impl FnOnce() -> Result<(), DcapRefusal>,
    ) -> Result<(), DcapRefusal> {
        check()
    }

    fn value<T>(
        &mut self,
        _: &'static str,
        check: impl FnOnce() -> Result<T, DcapRefusal>,
    ) -> Result<T, DcapRefusal> {
        check()
    }

    fn saw(&mut self, _: impl FnOnce() -> String) {}

    fn skip(&mut self, _: &'static str, _: &'static str) {}

    fn bear<T>(&mut self, result: Result<T, DcapRefusal>) -> Result<Option<T>, DcapRefusal> {
        result.map(Some)
    }
}

/// For people.
#[derive(Default)]
pub(crate) struct Account {
    checks: Vec<Check>,
    failed: Option<&'static str>,
}

impl Account {
    fn push(&mut self, what: &'static str, outcome: Outcome) {
        if matches!(outcome, Outcome::Fail(_)) {
            self.failed.get_or_insert(what);
        }
        self.checks.push(Check { what, outcome });
    }

    /// All checks in the order of `list`; those that were not reached are skipped.
    pub(crate) fn finish(mut self, list: &[&'static str]) -> Vec<Check> {
        let why = self.failed.unwrap_or("it does not apply");
        list.iter()
            .map(|what| match self.checks.iter().position(|check| check.what == *what) {
                Some(at) => self.checks.swap_remove(at),
                None => Check { what, outcome: Outcome::Skipped(why) },
            })
            .collect()
    }
}

impl Trace for Account {
    fn check(
        &mut self,
        what: &'static str,
        check: impl FnOnce() -> Result<(), DcapRefusal>,
    ) -> Result<(), DcapRefusal> {
        let outcome = match check() {
            Ok(()) => Outcome::Pass(String::new()),
            Err(refusal) => Outcome::Fail(refusal.into()),
        };
        self.push(what, outcome);
        Ok(())
    }

    fn value<T>(
        &mut self,
        what: &'static str,
        check: impl FnOnce() -> Result<T, DcapRefusal>,
    ) -> Result<T, DcapRefusal> {
        let result = check();
        let outcome = match &result {
            Ok(_) => Outcome::Pass(String::new()),
            Err(refusal) => Outcome::Fail(refusal.clone().into()),
        };
        self.push(what, outcome);
        result
    }

    fn saw(&mut self, what: impl FnOnce() -> String) {
        if let Some(Check { outcome: Outcome::Pass(seen), .. }) = self.checks.last_mut() {
            *seen = what();
        }
    }

    fn skip(&mut self, what: &'static str, why: &'static str) {
        self.push(what, Outcome::Skipped(why));
    }

    fn bear<T>(&mut self, result: Result<T, DcapRefusal>) -> Result<Option<T>, DcapRefusal> {
        Ok(result.ok())
    }
}
