// SPDX-License-Identifier: Apache-2.0

//! Why evidence is refused.
//!
//! Each format has its own enum of refusals; this trait is what they have in common, so that a service
//! can pass a refusal on without knowing formats. The enum itself is still there: a boxed [`Refusal`]
//! can be downcast.

use core::any::Any;
use core::error::Error;

/// A reason to refuse something, as a machine, an engineer and a person in a hurry want it.
///
/// The error's own text says what failed, on what.
pub trait Reason: Error + Send + Sync + Any {
    /// A stable name for programs: `area.what`, lower case, for example `snp.chip-id`.
    fn code(&self) -> &'static str;

    /// The specification, and its section, that this refusal enforces.
    fn reference(&self) -> &'static str;

    /// One sentence that says what to do.
    fn remedy(&self) -> &'static str;
}

/// A reason of whatever format.
pub type Refusal = Box<dyn Reason>;

impl<R: Reason> From<R> for Refusal {
    fn from(reason: R) -> Self {
        Box::new(reason)
    }
}

impl dyn Reason {
    /// The enum of the format, if it is `R`.
    #[must_use]
    pub fn downcast_ref<R: Reason>(&self) -> Option<&R> {
        (self as &dyn Any).downcast_ref()
    }
}
