// SPDX-License-Identifier: Apache-2.0

//! What the processor offers to a program, and that nothing is lost of it.

pub(crate) fn all() {
    crate::say("nothing yet");
}
