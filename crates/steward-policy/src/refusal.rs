// SPDX-License-Identifier: Apache-2.0

//! Why a policy refuses a Keep whose evidence is genuine.
//!
//! One table holds all refusals, so that none can lack its code, its reference or its remedy.

use evidence_claims::{Platform, Reason, TcbStatus};

/// Makes the enum and its [`Reason`] of one list: text, variant, code, reference, remedy.
macro_rules! refusals {
    ($(
        $(#[$meta:meta])*
        $name:ident $({ $($(#[$about:meta])* $field:ident: $type:ty),+ })?
            = $code:literal, $reference:literal, $remedy:literal;
    )*) => {
        /// A rule of the policy that a Keep does not satisfy.
        #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
        #[non_exhaustive]
        pub enum PolicyRefusal {
            $($(#[$meta])* $name $({ $($(#[$about])* $field: $type),+ })?,)*
        }

        impl PolicyRefusal {
            /// The code of each variant.
            pub const ALL_CODES: &[&str] = &[$($code),*];
        }

        impl Reason for PolicyRefusal {
            fn code(&self) -> &'static str {
                match self { $(Self::$name { .. } => $code,)* }
            }

            fn reference(&self) -> &'static str {
                match self { $(Self::$name { .. } => concat!("docs/steward-policy.md, ", $reference),)* }
            }

            fn remedy(&self) -> &'static str {
                match self { $(Self::$name { .. } => $remedy,)* }
            }
        }
    };
}

refusals! {
    /// The policy has no section for this platform.
    #[error("the policy has no section `[{platform}]`")]
    Platform {
        /// The Keep's platform.
        platform: Platform
    } = "policy.platform", "Sections",
        "Run the Keep on a platform that the policy names.";

    /// Platform and details do not belong together, or are of a format that no section is about.
    #[error("the policy knows no rules for this format of evidence on `{platform}`")]
    Format {
        /// The Keep's platform.
        platform: Platform
    } = "policy.format", "Sections",
        "Use a Steward that knows this format of evidence.";

    /// The host may look into the Keep.
    #[error("the Keep runs in debug mode: its host can read and change it")]
    Debug = "policy.debug", "What no policy lets in",
        "Launch the Keep without debug mode.";

    /// A migration agent may move the Keep's state to another machine.
    #[error("the Keep may be migrated: an agent outside of it can read its state")]
    Migration = "policy.migration", "What no policy lets in",
        "Launch the Keep so that it cannot be migrated.";

    /// The measurement is blacklisted.
    #[error("the measurement {found} is in `hash_blacklist`")]
    HashBlacklist {
        /// The Keep's measurement.
        found: String
    } = "policy.hash-blacklist", "hash_blacklist",
        "Run a version of Enarx that is not blacklisted.";

    /// The measurement is not one of those wanted.
    #[error("the measurement {found} is not in `hash`")]
    Hash {
        /// The Keep's measurement.
        found: String
    } = "policy.hash", "hash",
        "Run a version of Enarx that the policy names, or have the policy name this one.";

    /// The signer is not one of those wanted.
    #[error("the signer {found} is not in `signer`")]
    Signer {
        /// The signer, or that there is none.
        found: String
    } = "policy.signer", "signer",
        "Run an Enarx that is signed with a key that the policy names.";

    /// The ID key is blacklisted.
    #[error("the ID key digest {found} is in `id_key_digest_blacklist`")]
    IdKeyBlacklist {
        /// `ID_KEY_DIGEST`.
        found: String
    } = "policy.id-key-digest-blacklist", "[snp] id_key_digest_blacklist",
        "Launch with an ID block that is signed with another key.";

    /// The ID key is not one of those wanted.
    #[error("the ID key digest {found} is not in `id_key_digest`")]
    IdKey {
        /// `ID_KEY_DIGEST`.
        found: String
    } = "policy.id-key-digest", "[snp] id_key_digest",
        "Launch with an ID block that is signed with a key that the policy names.";

    /// The vendor's word on the platform is not one of those accepted.
    #[error("the TCB status is {found}, and {accepted} is accepted")]
    TcbStatus {
        /// The status.
        found: String,
        /// The statuses that the policy accepts.
        accepted: String
    } = "policy.tcb-status", "accepted_tcb_statuses",
        "Update the machine's firmware and microcode, and fetch its collateral anew.";

    /// An advisory concerns the platform, and the policy does not allow it.
    #[error("these advisories are not in `allowed_advisories`: {found}")]
    Advisories {
        /// The advisories, separated by commas.
        found: String
    } = "policy.advisories", "allowed_advisories",
        "Update the machine's firmware, or have the policy allow the advisories.";

    /// The collateral is older than the policy wants.
    #[error("the collateral's evaluation number is {found}, and {wanted} is the least")]
    EvaluationNumber {
        /// The collateral's number.
        found: String,
        /// The policy's number.
        wanted: u32
    } = "policy.evaluation-number", "min_tcb_evaluation_data_number",
        "Fetch the collateral anew, with `update=early` if need be.";

    /// There was no QE identity to hold the quoting enclave against.
    #[error("the evidence comes without a QE identity")]
    QeIdentity = "policy.qe-identity", "require_qe_identity",
        "Send the evidence with Intel's QE identity among its endorsements.";

    /// Simultaneous multithreading is on, or may be.
    #[error("simultaneous multithreading is not known to be off")]
    Smt = "policy.smt", "allow_smt",
        "Switch simultaneous multithreading off in the firmware, and provision the platform anew.";

    /// Intel keeps the platform's keys, or may.
    #[error("the platform's keys are not known to be kept by the platform alone")]
    CachedKeys = "policy.cached-keys", "allow_cached_keys",
        "Provision the platform without key caching.";

    /// The platform may grow by further packages.
    #[error("the platform is not known to be closed to further packages")]
    DynamicPlatform = "policy.dynamic-platform", "allow_dynamic_platform",
        "Run the Keep on a platform to which no packages can be added.";

    /// The enclave has attributes that the policy does not list.
    #[error("these attributes of the enclave are not in `features`: {found}")]
    Features {
        /// Names of the attributes, separated by commas.
        found: String
    } = "policy.features", "[sgx] features",
        "Sign the enclave without these attributes, or have the policy list them.";

    /// The enclave's version is too old.
    #[error("the enclave's security version is {found}, and {wanted} is the least")]
    EnclaveSecurityVersion {
        /// `ISVSVN`.
        found: u16,
        /// The policy's number.
        wanted: u16
    } = "policy.enclave-security-version", "[sgx] enclave_security_version",
        "Run a newer version of Enarx.";

    /// The enclave is another product.
    #[error("the enclave's product id is {found}, and {wanted} is wanted")]
    EnclaveProductId {
        /// `ISVPRODID`.
        found: u16,
        /// The policy's number.
        wanted: u16
    } = "policy.enclave-product-id", "[sgx] enclave_product_id",
        "Run the product that the policy names.";

    /// `MISCSELECT` has bits that the policy does not list.
    #[error("these bits of the enclave's MISCSELECT are not in `misc_select`: {found}")]
    MiscSelect {
        /// Names of the bits, separated by commas.
        found: String
    } = "policy.misc-select", "[sgx] misc_select",
        "Sign the enclave without these bits, or have the policy list them.";

    /// `CONFIGID` differs.
    #[error("the enclave's CONFIGID is {found}, which is not `config_id`")]
    ConfigId {
        /// `CONFIGID`.
        found: String
    } = "policy.config-id", "[sgx] config_id",
        "Launch the enclave with the configuration that the policy names.";

    /// `CONFIGSVN` is too low.
    #[error("the enclave's CONFIGSVN is {found}, and {wanted} is the least")]
    ConfigSvn {
        /// `CONFIGSVN`.
        found: u16,
        /// The policy's number.
        wanted: u16
    } = "policy.config-svn", "[sgx] config_svn",
        "Launch the enclave with a newer configuration.";

    /// `ISVEXTPRODID` differs.
    #[error("the enclave's extended product id is {found}, which is not `ext_prod_id`")]
    ExtProdId {
        /// `ISVEXTPRODID`.
        found: String
    } = "policy.ext-prod-id", "[sgx] ext_prod_id",
        "Run the product that the policy names.";

    /// The family differs: `ISVFAMILYID` or `FAMILY_ID`.
    #[error("the family id {found} is not in `family_id`")]
    FamilyId {
        /// The identifier.
        found: String
    } = "policy.family-id", "family_id",
        "Run an image of a family that the policy names.";

    /// `IMAGE_ID` differs.
    #[error("the image id {found} is not in `image_id`")]
    ImageId {
        /// `IMAGE_ID`.
        found: String
    } = "policy.image-id", "[snp] image_id",
        "Run an image that the policy names.";

    /// `HOST_DATA` differs.
    #[error("the host data {found} is not in `host_data`")]
    HostData {
        /// `HOST_DATA`.
        found: String
    } = "policy.host-data", "[snp] host_data",
        "Launch the Keep with host data that the policy names.";

    /// The processor is of another product line.
    #[error("the processor is a {found}, and `products` names others")]
    Product {
        /// AMD's name for the product line.
        found: String
    } = "policy.product", "[snp] products",
        "Run the Keep on a processor that the policy names.";

    /// The report is signed with a VLEK.
    #[error("the report is signed with a VLEK, a key of the cloud provider's, not of the chip")]
    Vlek = "policy.vlek", "[snp] allow_vlek",
        "Have the host sign reports with the chip's VCEK.";

    /// The VLEK is of another provider.
    #[error("the cloud provider of the VLEK is {found}, which is not in `csp_ids`")]
    CspId {
        /// `CSP_ID`, or that there is none.
        found: String
    } = "policy.csp-id", "[snp] csp_ids",
        "Run the Keep at a provider that the policy names.";

    /// The chip is another one.
    #[error("the chip {found} is not in `chip_ids`")]
    ChipId {
        /// `CHIP_ID`.
        found: String
    } = "policy.chip-id", "[snp] chip_ids",
        "Run the Keep on a machine that the policy names.";

    /// The firmware is of a version that is not wanted.
    #[error("the firmware's version is {found}, and {wanted} is wanted")]
    Abi {
        /// Version that runs.
        found: String,
        /// The policy's range.
        wanted: String
    } = "policy.abi", "[snp] abi",
        "Update the machine's SEV firmware.";

    /// A part of the TCB is too old.
    #[error("the {which} TCB is {found}, and the least is {wanted}")]
    MinimumTcb {
        /// `reported`, `committed` or `launch`.
        which: &'static str,
        /// Its parts.
        found: String,
        /// Those of the policy.
        wanted: String
    } = "policy.minimum-tcb", "[snp.minimum_tcb]",
        "Update the machine's firmware and microcode, commit them, and launch the Keep anew.";

    /// The guest's policy permits what `policy_flags` does not list.
    #[error("the guest's policy permits what `policy_flags` does not list: {found}")]
    PolicyFlagSet {
        /// Names of the flags, separated by commas.
        found: String
    } = "policy.policy-flag-set", "[snp] policy_flags",
        "Launch the Keep with a stricter guest policy, or have the policy list the flags.";

    /// The guest's policy does not demand what `policy_flags` lists.
    #[error("the guest's policy does not demand what `policy_flags` lists: {found}")]
    PolicyFlagMissing {
        /// Names of the flags, separated by commas.
        found: String
    } = "policy.policy-flag-missing", "[snp] policy_flags",
        "Launch the Keep with a guest policy that demands this.";

    /// The platform is configured in another way.
    #[error("the platform has these flags: {found}; `platform_info_flags` wants: {wanted}")]
    PlatformInfo {
        /// Names of the flags that are set, separated by commas.
        found: String,
        /// Names of those that are wanted.
        wanted: String
    } = "policy.platform-info", "[snp] platform_info_flags",
        "Configure the machine's firmware as the policy wants it.";

    /// The report was asked for at another privilege level.
    #[error("the report was asked for at VMPL {found}, which is not in `vmpl`")]
    Vmpl {
        /// `VMPL`.
        found: u32
    } = "policy.vmpl", "[snp] vmpl",
        "Ask for the report at a privilege level that the policy names.";

    /// The guest's version is too old.
    #[error("the guest's security version is {found}, and {wanted} is the least")]
    GuestSvn {
        /// `GUEST_SVN`.
        found: u32,
        /// The policy's number.
        wanted: u32
    } = "policy.guest-svn", "[snp] min_guest_svn",
        "Run a newer version of Enarx.";

    /// `MRSEAM` differs.
    #[error("the TDX module {found} is not in `mr_seam`")]
    MrSeam {
        /// `MRSEAM`.
        found: String
    } = "policy.mr-seam", "[tdx] mr_seam",
        "Run the TDX module that the policy names.";

    /// `MRCONFIGID` differs.
    #[error("the MRCONFIGID {found} is not in `mr_config_id`")]
    MrConfigId {
        /// `MRCONFIGID`.
        found: String
    } = "policy.mr-config-id", "[tdx] mr_config_id",
        "Launch the TD with a configuration that the policy names.";

    /// `MROWNER` differs.
    #[error("the MROWNER {found} is not in `mr_owner`")]
    MrOwner {
        /// `MROWNER`.
        found: String
    } = "policy.mr-owner", "[tdx] mr_owner",
        "Launch the TD for an owner that the policy names.";

    /// `MROWNERCONFIG` differs.
    #[error("the MROWNERCONFIG {found} is not in `mr_owner_config`")]
    MrOwnerConfig {
        /// `MROWNERCONFIG`.
        found: String
    } = "policy.mr-owner-config", "[tdx] mr_owner_config",
        "Launch the TD with an owner's configuration that the policy names.";

    /// A run-time measurement differs.
    #[error("the RTMR{index} {found} is not in `rtmr{index}`")]
    Rtmr {
        /// Which one: 0 to 3.
        index: usize,
        /// Its value.
        found: String
    } = "policy.rtmr", "[tdx] rtmr0 to rtmr3",
        "Start the TD with software that the policy names.";

    /// Another TD is bound to this one and can act on it.
    #[error("a service TD is bound, {found}, and `mr_service_td` does not name it")]
    ServiceTd {
        /// `MRSERVICETD`.
        found: String
    } = "policy.service-td", "[tdx] mr_service_td",
        "Launch the TD without service TDs, or have the policy name it.";

    /// The host can provoke exceptions in the TD.
    #[error("SEPT_VE_DISABLE is off: the host can provoke exceptions in the TD")]
    SeptVe = "policy.sept-ve", "[tdx] require_sept_ve_disable",
        "Launch the TD with SEPT_VE_DISABLE.";

    /// Supervisor protection keys are on.
    #[error("the TD has the attribute PKS")]
    Pks = "policy.pks", "[tdx] allow_pks",
        "Launch the TD without PKS.";

    /// Key locker is on.
    #[error("the TD has the attribute KL (key locker)")]
    KeyLocker = "policy.key-locker", "[tdx] allow_key_locker",
        "Launch the TD without key locker.";

    /// The TD uses processor state that the policy does not list.
    #[error("the TD's XFAM is {found:#x}, and `xfam` allows {allowed:#x}")]
    Xfam {
        /// `XFAM`.
        found: u64,
        /// The policy's mask.
        allowed: u64
    } = "policy.xfam", "[tdx] xfam",
        "Launch the TD with fewer extended features.";

    /// The TDX module or its parts are too old.
    #[error("the TEE_TCB_SVN is {found}, and the least is {wanted}, part by part")]
    TeeTcbSvn {
        /// `TEE_TCB_SVN`.
        found: String,
        /// That of the policy.
        wanted: String
    } = "policy.tee-tcb-svn", "[tdx] min_tee_tcb_svn",
        "Update the machine's TDX module.";

    /// The evidence was not made for a nonce.
    #[error("the evidence is not bound to a nonce of this Steward")]
    Nonce = "policy.nonce", "[certificate] require_nonce",
        "Ask the Steward for a nonce and bind it to the evidence.";

    /// No workload is bound.
    #[error("no workload is bound to the evidence")]
    WorkloadMissing = "policy.workload-missing", "[certificate] require_workload, [[workload]]",
        "Bind the digest of the workload to the evidence (binding form 2).";

    /// The workload is not one of those wanted.
    #[error("the workload {found} is not one of those that the policy names")]
    Workload {
        /// Digest and slug.
        found: String
    } = "policy.workload", "[[workload]]",
        "Deploy a workload that the policy names.";
}

/// Statuses for a message.
pub(crate) fn statuses(list: &[TcbStatus]) -> String {
    let names: Vec<_> = list.iter().map(|status| status.as_str()).collect();
    names.join(", ")
}
