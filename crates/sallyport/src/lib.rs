// SPDX-License-Identifier: Apache-2.0

//! The host-call protocol between a Keep and its host: memory layout and typed, unchecked replies
