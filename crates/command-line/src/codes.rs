// SPDX-License-Identifier: Apache-2.0

//! Exit codes of a program, and the table of them in its help and manual.
//!
//! They are a promise of that program, so each has its own; but a code and what is said of it stand in
//! one place, and no table can lack a row.

use std::fmt;

/// The exit codes of one program; [`exit_codes!`](crate::exit_codes) makes them.
pub trait Codes: Copy + fmt::Debug + 'static {
    /// The command line is wrong; clap uses 2 for it.
    const USAGE: Self;
    /// A file that was named cannot be used.
    const INPUT: Self;
    /// What no other code stands for.
    const FAILED: Self;

    /// Which codes are no failure of the program, and what they say.
    const SUCCESS: (&'static str, &'static str);
    /// All others, in the order of the table, and what they say.
    const ALL: &'static [(Self, &'static str)];
    /// What else is to be known, below the table.
    const NOTE: &'static str;

    /// As the process gives it.
    fn number(self) -> u8;

    /// The table as help and manual show it.
    fn table() -> String {
        let (label, meaning) = Self::SUCCESS;
        let failures = Self::ALL.iter().map(|(code, means)| (code.number().to_string(), *means));
        let rows: Vec<_> = [(label.to_owned(), meaning)].into_iter().chain(failures).collect();
        let width = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or_default();
        let rows = rows.iter().map(|(label, meaning)| format!("\n  {label:<width$}  {meaning}"));
        format!("Exit codes:{}{}", rows.collect::<String>(), Self::NOTE)
    }
}

/// Makes a program's exit codes: the enum `Code`, its [`Codes`], and the type `Failure`.
///
/// First stands what is no failure; then each code and what it says, which is its documentation and its row
/// of the table. `Usage`, `Input` and `Failed` have to be among them. Last may stand a text below the table.
#[macro_export]
macro_rules! exit_codes {
    (
        $label:literal => $success:literal,
        $($name:ident = $number:literal => $meaning:literal),+ $(,)?
        $(; $note:literal)?
    ) => {
        /// A failure's exit code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Code {
            $(#[doc = $meaning] $name = $number,)+
        }

        impl $crate::Codes for Code {
            const USAGE: Self = Self::Usage;
            const INPUT: Self = Self::Input;
            const FAILED: Self = Self::Failed;
            const SUCCESS: (&'static str, &'static str) = ($label, $success);
            const ALL: &'static [(Self, &'static str)] = &[$((Self::$name, $meaning)),+];
            const NOTE: &'static str = concat!("", $("\n", $note)?);

            fn number(self) -> u8 {
                self as u8
            }
        }

        /// An error and the code that it ends with.
        pub(crate) type Failure = $crate::Failure<Code>;
    };
}

#[cfg(test)]
pub(crate) mod tests {
    use super::Codes as _;

    // Of a program that there is not.
    exit_codes! {
        "0–9" => "all is well",
        Usage = 2 => "the command line is wrong",
        Input = 13 => "a file cannot be used",
        Failed = 105 => "something else failed";
        "  And that is all."
    }

    #[test]
    fn the_table_has_its_columns() {
        assert_eq!(
            Code::table(),
            "Exit codes:\n  \
               0–9  all is well\n  \
               2    the command line is wrong\n  \
               13   a file cannot be used\n  \
               105  something else failed\n  \
               And that is all."
        );
    }

    #[test]
    fn a_failure_has_its_number() {
        let failure: Failure = Failure::told(Code::Input);
        assert_eq!(failure.code.number(), 13);
    }
}
