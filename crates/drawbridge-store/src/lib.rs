// SPDX-License-Identifier: Apache-2.0

//! Where a Drawbridge keeps everything: content by digest, and small immutable records, in one object store.

#![forbid(unsafe_code)]
