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
/// @param funding Sale: minted only against payment. Stake: minted by the issuer, a provider, within its stake. Grant:
/// minted by the issuer, without backing.
/// @param transferable False binds credits to the account that received them first.
/// @param capacityBound True limits issuance to what the watchers attest that the issuer, a provider, can deliver.
/// @param minAssurance Lowest assurance (0 to 3) at which a completed job settles.
/// @param watcherSet Set of watchers whose signatures prove assurance 2 and 3.
/// @param challengeWindow Seconds between a submission and its settlement; 0 settles at once.
/// @param maxRate Most base units a single resource can use in a second.
/// @param expiry Unix seconds after which credits can't be sold, moved or locked; 0 never.
/// @param maxSupply Most base units in existence at once, below 2**96.
/// @param maxPerHolder Most base units one account may hold, locked and deposited ones included, below 2**96; 0 for none.
/// @param sku keccak256 of the hardware or model name a provider must serve.
/// @param region ASCII region a provider must be in; zero for any.
/// @param paymentToken ERC-20 that buys and backs the class.
/// @param pricePerMillion Payment token base units for 1,000,000 credits, below 2**96. With a feed, the price its answers
/// are held against; of a class that isn't sold, what budgets are charged.
/// @param priceFeed Chainlink-shaped feed of the price of 1,000,000 credits; zero for the fixed price.
/// @param maxPriceAge Oldest feed answer accepted, in seconds.
/// @param eligibility Contract that says who may hold the class; zero for everyone.
/// @param arbiterSet Set of watchers whose signatures decide disputes about jobs, and what was overcharged in sessions;
/// needed with a challenge window.
/// @param stakePerMillion Stake token base units that stand behind 1,000,000 credits: of a stake-funded class while they
/// exist, and of any class with a challenge window as much again while a provider works on them. With arbiters it is also
/// what a provider loses, times `MeteredSessions.PENALTY`, for each million it overcharged. 0 for none.
/// @param maxDeviationBps How far a feed's answer may lie from `pricePerMillion`, in hundredths of a percent of it.
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
    uint32 arbiterSet;
    uint128 stakePerMillion;
    uint16 maxDeviationBps;
    string name;
}

/// @notice What watched, disputable and staked jobs need to know of a class besides.
struct ReviewTerms {
    uint32 watcherSet;
    uint32 arbiterSet;
    uint32 challengeWindow;
    uint128 stakePerMillion;
    uint8 decimals;
    Resource resource;
    Funding funding;
}

/// @notice What a sale, or a charge to a budget, needs to know of a class.
struct SaleTerms {
    Funding funding;
    uint8 decimals;
    bool open;
    address paymentToken;
    uint96 pricePerMillion;
    address priceFeed;
    uint32 maxPriceAge;
    uint16 maxDeviationBps;
}

/// @notice What a provider needs to serve a class.
/// @param requirement SKU and region as one word: `ProviderRegistry.requirementOf`.
/// @param listed Whether the class's own list admits the provider.
/// @param staked A provider's stake is set aside while it works on a job of the class.
struct ServingTerms {
    bytes20 requirement;
    bool listed;
    bool staked;
}

/// @notice End of a lock: `locked` units of `payer` are free again but for `used`, which are burned.
struct Usage {
    address payer;
    uint128 locked;
    uint128 used;
}

/// @notice Who paid for a wrong receipt, as arbiters see it.
enum Fault {
    None,
    Provider,
    Challenger
}

/// @notice Addresses of the contracts of one deployment. Each takes them at its construction and keeps those it calls.
struct System {
    address credits;
    address reserve;
    address registry;
    address verifier;
    address market;
    address sessions;
    address budgets;
    address exchange;
    address metadata;
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
/// @param budgetId Spending budget charged for the job, whose spender then agrees in the payer's place; 0 for none.
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

/// @notice Terms of a session. Its id is their EIP-712 digest, so they are never stored.
/// @param payer Whose credits are deposited; what is left goes back there.
/// @param provider Who serves and is paid.
/// @param classId Class of the deposited credits.
/// @param key Signs vouchers: an account or an ERC-1271 contract.
/// @param expiresAt Unix seconds after which anyone can ask for the session to be closed.
/// @param budgetId Spending budget charged for the deposit; 0 for none.
/// @param salt Makes sessions with equal terms distinct.
struct SessionTerms {
    address payer;
    address provider;
    uint256 classId;
    address key;
    uint40 expiresAt;
    uint256 budgetId;
    uint256 salt;
}

/// @notice What a budget allows. Amounts are base units of its token at class price.
/// @param spender Who spends it and may divide it into children.
/// @param perAction Most that one charge may take.
/// @param perPeriod Most that all charges of one period may take, given back or not.
/// @param lifetime Most that may be spent or locked in all.
/// @param period Length of a period in seconds, counted from 1970; 0 for no periods.
/// @param expiry Unix seconds after which nothing can be charged; 0 never.
/// @param listed Whether only listed providers can be paid.
struct Limits {
    address spender;
    uint96 perAction;
    uint96 perPeriod;
    uint96 lifetime;
    uint32 period;
    uint40 expiry;
    bool listed;
}

/// @notice A maker's offer to sell credits for a token, or to buy them. Signed as EIP-712.
/// @param selling True: the maker gives credits and takes tokens.
/// @param units Base units in all; may be filled in parts.
/// @param price Token base units for all of `units`.
/// @param taker Who alone may fill it; zero for anyone.
/// @param expiry Unix seconds after which it can't be filled.
/// @param epoch The maker's epoch; raising it cancels all offers of the epochs before.
struct Offer {
    address maker;
    bool selling;
    uint256 classId;
    uint128 units;
    address token;
    uint128 price;
    address taker;
    uint40 expiry;
    uint64 epoch;
    uint256 salt;
}
