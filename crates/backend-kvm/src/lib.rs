// SPDX-License-Identifier: Apache-2.0

//! The kvm backend: a Keep as a virtual machine
