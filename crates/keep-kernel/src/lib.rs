// SPDX-License-Identifier: Apache-2.0

//! The Keep's kernel: a library OS in ring 3, and the ring-0 stub
