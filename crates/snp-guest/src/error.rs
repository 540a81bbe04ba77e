// SPDX-License-Identifier: Apache-2.0

//! Errors, each reason beside its sentence.
//!
//! A Keep that ends over one of them says the sentence to its host, which is all that anybody sees
//! of it; so there are no chains of sources, and a reason within another is part of the sentence.

/// Declares an enum of reasons.
macro_rules! reasons {
    (
        $(#[$doc:meta])* $name:ident:
        $($(#[$why:meta])* $reason:ident $(($($value:ident: $type:ty),+))? = $says:literal;)+
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$why])* $reason $(($($type),+))?,)+
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self {
                    $(Self::$reason $(($($value),+))? => write!(f, $says),)+
                }
            }
        }

        impl core::error::Error for $name {}
    };
}
