// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

/// @dev Types shared by every contract of Scrip. Units of a class are base units: one credit is `10 ** decimals` of them.

/// @notice What one credit of a class pays for.
enum Resource {
    None,
    GpuSecond,
    CpuSecond,
    OutputToken,
    InputToken,
    GbHour,
    GbTransfer
}

/// @notice Where the backing of a class comes from.
enum Funding {
    Sale,
    Stake,
    Grant
}

/// @notice Life of a job: None, Open, Running, Submitted, Settled. Everything from Settled on is final.
enum Status {
    None,
    Open,
    Running,
    Submitted,
    Disputed,
    Settled,
    Refunded,
    Cancelled,
    Expired
}

/// @notice How the work ended.
enum Outcome {
    None,
    Completed,
    Failed
}

/// @notice Terms of a class, fixed when it is created.
/// @param issuer Who created the class: may close it, and grant units of a granted class.
/// @param resource What a credit pays for.
/// @param decimals Base units of a credit, as a power of ten.
/// @param funding Sale: minted only against payment. Grant: minted by the issuer, without backing.
/// @param transferable False binds credits to the account that received them first.
/// @param capacityBound True limits issuance to the provider's attested capacity.
/// @param minAssurance Lowest assurance (0 to 3) at which a completed job settles.
/// @param watcherSet Set of watchers whose signatures prove assurance 2 and 3.
/// @param challengeWindow Seconds between a submission and its settlement; 0 settles at once.
/// @param maxRate Most base units a single resource can use in a second.
/// @param expiry Unix seconds after which credits can't be sold, moved or locked; 0 never.
/// @param maxSupply Most base units in existence at once, below 2**96.
/// @param maxPerHolder Most base units one account may hold; 0 for no cap.
/// @param sku keccak256 of the hardware or model name a provider must serve.
/// @param region ASCII region a provider must be in; zero for any.
/// @param paymentToken ERC-20 that buys and backs the class.
/// @param pricePerMillion Payment token base units for 1,000,000 credits.
/// @param priceFeed Price feed; zero for the fixed price.
/// @param maxPriceAge Oldest feed answer accepted, in seconds.
/// @param eligibility Contract that says who may hold the class; zero for everyone.
/// @param name Name shown to people, at most 64 bytes.
struct ClassTerms {
    address issuer;
    Resource resource;
    uint8 decimals;
    Funding funding;
    bool transferable;
    bool capacityBound;
    uint8 minAssurance;
    uint32 watcherSet;
    uint32 challengeWindow;
    uint64 maxRate;
    uint40 expiry;
    uint128 maxSupply;
    uint128 maxPerHolder;
    bytes32 sku;
    bytes12 region;
    address paymentToken;
    uint128 pricePerMillion;
    address priceFeed;
    uint32 maxPriceAge;
    address eligibility;
    string name;
}

/// @notice What a settlement needs to know of a class: one storage slot.
struct SettlementTerms {
    Resource resource;
    uint8 decimals;
    uint8 minAssurance;
    bool providersListed;
    uint32 watcherSet;
    uint32 challengeWindow;
    uint64 maxRate;
    bytes12 region;
}

/// @notice What a sale needs to know of a class.
struct SaleTerms {
    Funding funding;
    uint8 decimals;
    bool open;
    address paymentToken;
    uint128 pricePerMillion;
}

/// @notice Locked units that go back to a payer.
struct Release {
    address to;
    uint256 units;
}

/// @notice Terms of a job. The job's id is their EIP-712 digest, so they are never stored: whoever acts on a job passes
/// them again and the contract compares.
/// @param payer Whose credits are locked; every refund goes there.
/// @param provider Who does the work and is paid.
/// @param classId Class of the locked credits.
/// @param maxUnits Base units locked: the most the job can cost.
/// @param resources GPUs, cores or slots used side by side; bounds units by time.
/// @param acceptBy Unix seconds until which the provider can accept; anyone can expire an open job after it.
/// @param submitBy Unix seconds until which a receipt is taken; anyone can expire a running job after it.
/// @param specHash keccak256 of the canonical JSON of the template and its parameters.
/// @param budgetId Spending budget charged for the job; 0 for none.
/// @param salt Makes jobs with equal terms distinct.
struct JobTerms {
    address payer;
    address provider;
    uint256 classId;
    uint128 maxUnits;
    uint32 resources;
    uint40 acceptBy;
    uint40 submitBy;
    bytes32 specHash;
    uint256 budgetId;
    uint256 salt;
}

/// @notice Signed statement of what a job used.
/// @param jobId EIP-712 digest of the job's terms.
/// @param outcome Completed, or Failed (then `units` is 0 and everything goes back).
/// @param units Base units of the class used.
/// @param gpuMillijoules Energy of the GPUs alone; 0 when not measured.
/// @param inputTokens Tokens read.
/// @param outputTokens Tokens produced.
/// @param startedAt Unix seconds, not before the job was opened.
/// @param endedAt Unix seconds, not in the future.
/// @param outputHash keccak256 of the output bytes.
/// @param evidenceRoot Merkle root of the hash-chained telemetry.
/// @param assurance 0 self-reported or simulated, 1 hash-chained telemetry seeded by the job, 2 re-checked and co-signed
/// by the watchers, 3 with a hardware report they checked.
struct Receipt {
    bytes32 jobId;
    Outcome outcome;
    uint128 units;
    uint64 gpuMillijoules;
    uint64 inputTokens;
    uint64 outputTokens;
    uint40 startedAt;
    uint40 endedAt;
    bytes32 outputHash;
    bytes32 evidenceRoot;
    uint8 assurance;
}

/// @notice Signatures over one receipt or one batch of receipts.
/// @param provider By the provider's oracle key.
/// @param watchers By watchers, sorted by ascending address.
struct Attestation {
    bytes provider;
    bytes[] watchers;
}
