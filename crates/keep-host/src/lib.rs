// SPDX-License-Identifier: Apache-2.0

//! The host's side of a Keep: serves its calls on descriptors handed out by us, under seccomp
