// SPDX-License-Identifier: Apache-2.0

//! What a launch measures and checks. The digests themselves are held against other programs' in
//! `peers`; here is what can be said without those.

mod digest;
mod image;
mod parameters;
mod plan;
