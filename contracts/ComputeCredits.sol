// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {
    AccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";
import {ERC1155} from "@openzeppelin/contracts/token/ERC1155/ERC1155.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {CreditLedger} from "./CreditLedger.sol";
import {DelayedRoles} from "./base/DelayedRoles.sol";
import {UnorderedNonces} from "./base/UnorderedNonces.sol";
import {IClassMetadata} from "./interfaces/IClassMetadata.sol";
import {IComputeCredits} from "./interfaces/IComputeCredits.sol";
import {IReceiptVerifier} from "./interfaces/IReceiptVerifier.sol";
import {ClassTerms, Funding, ReviewTerms, SaleTerms, ServingTerms, System} from "./interfaces/Types.sol";
import {ClassFlags} from "./libraries/ClassFlags.sol";
import {ClassPolicy} from "./libraries/ClassPolicy.sol";

/// @title ComputeCredits
/// @dev Trust model.
/// - Only the reserve mints sold units, only the job market locks units and burns locked ones, only the sessions take
///   deposits. All three are immutable: no role, the admin included, can move, mint or burn a holder's credits.
/// - An issuer chooses terms once, may close its class, and may mint units of its granted (unbacked) classes and, within
///   the stake it has, of its stake-funded ones.
/// - PAUSER_ROLE can stop sales, grants, new jobs and new deposits of a class for at most `MAX_PAUSE`, then not again
///   for as long. Transfers and every way out stay open.
/// - The admin only says who may be an issuer or pauser, after delays everybody can see.
contract ComputeCredits is CreditLedger, DelayedRoles, UnorderedNonces, EIP712 {
    /* CONSTANTS */

    bytes32 public constant ISSUER_ROLE = keccak256("ISSUER_ROLE");
    bytes32 public constant PAUSER_ROLE = keccak256("PAUSER_ROLE");
    bytes32 public constant APPROVAL_TYPEHASH =
        keccak256("Approval(address owner,address operator,bool approved,uint256 nonce,uint256 deadline)");
    uint256 public constant MAX_PAUSE = 14 days;

    address public immutable RESERVE;
    IReceiptVerifier public immutable VERIFIER;
    IClassMetadata public immutable METADATA;

    /* CONSTRUCTOR */

    constructor(System memory system, address admin, uint48 adminDelay, uint256 roleDelay)
        CreditLedger(system)
        DelayedRoles(admin, adminDelay, roleDelay)
        EIP712("Scrip ComputeCredits", "1")
    {
        RESERVE = system.reserve;
        VERIFIER = IReceiptVerifier(system.verifier);
        METADATA = IClassMetadata(system.metadata);
    }

    /* CLASSES */

    /// @inheritdoc IComputeCredits
    function createClass(ClassTerms calldata terms, address[] calldata providers)
        external
        onlyRole(ISSUER_ROLE)
        returns (uint256 classId)
    {
        classId = classCount + 1;
        if (terms.issuer != msg.sender) revert ComputeCredits_NotIssuer(classId, terms.issuer, msg.sender);
        uint8 flags = METADATA.checkTerms(classId, VERIFIER, terms, providers);
        classCount = classId;
        _store(classId, terms, flags);
        for (uint256 i; i < providers.length; ++i) {
            _classes[classId].listed[providers[i]] = true;
        }
        emit ClassCreated(classId, msg.sender, terms, providers);
        emit URI(uri(classId), classId);
        if (flags & ClassFlags.BOUND != 0) REGISTRY.bindClass(msg.sender, classId);
    }

    /// @inheritdoc IComputeCredits
    function closeClass(uint256 classId) external {
        _checkIssuer(classId);
        if (_has(classId, ClassFlags.CLOSED)) revert ComputeCredits_Closed(classId, 1, 0);
        _classes[classId].flags |= uint8(ClassFlags.CLOSED);
        emit ClassClosed(classId);
    }

    /// @inheritdoc IComputeCredits
    function pauseClass(uint256 classId, uint40 until) external onlyRole(PAUSER_ROLE) {
        _checkExists(classId);
        uint256 last = _classes[classId].pausedUntil;
        if (until <= block.timestamp) {
            // Kept even if it is long past: the next pause is counted from it. Safe cast: neither is over a uint40.
            until = uint40(last < block.timestamp ? last : block.timestamp);
        } else {
            // Under a pause, and for as long after it as it may last, it can only be made shorter: it is no freeze.
            bool free = last == 0 || block.timestamp >= last + MAX_PAUSE;
            uint256 latest = free ? block.timestamp + MAX_PAUSE : last;
            if (until > latest) revert ComputeCredits_PauseTooLong(classId, until, latest);
        }
        _classes[classId].pausedUntil = until;
        emit ClassPaused(classId, until);
    }

    /* MINT AND BURN */

    /// @inheritdoc IComputeCredits
    function grant(address to, uint256 classId, uint256 units) external {
        _checkIssuer(classId);
        Funding funding = _classes[classId].review.funding;
        if (funding == Funding.Sale) revert ComputeCredits_WrongFunding(classId, funding, Funding.Grant);
        _mintUnits(to, classId, units);
    }

    /// @inheritdoc IComputeCredits
    function mint(address to, uint256 classId, uint256 units) external {
        _only(RESERVE, classId);
        _mintUnits(to, classId, units);
    }

    /// @inheritdoc IComputeCredits
    function burn(address from, uint256 classId, uint256 units) external returns (uint256 supplyBefore) {
        _only(RESERVE, classId);
        return _burnUnits(from, classId, units);
    }

    /* APPROVALS */

    /// @inheritdoc IComputeCredits
    function setApprovalForAllBySig(
        address owner,
        address operator,
        bool approved,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external {
        bytes32 structHash = keccak256(abi.encode(APPROVAL_TYPEHASH, owner, operator, approved, nonce, deadline));
        _useSignature(owner, nonce, deadline, _hashTypedDataV4(structHash), signature);
        _setApprovalForAll(owner, operator, approved);
    }

    /* VIEWS */

    /// @inheritdoc IComputeCredits
    function classTerms(uint256 classId) public view returns (ClassTerms memory terms) {
        _checkExists(classId);
        Class storage c = _classes[classId];
        ReviewTerms storage r = c.review;
        terms.issuer = c.issuer;
        terms.resource = r.resource;
        terms.decimals = r.decimals;
        terms.funding = r.funding;
        terms.transferable = c.flags & ClassFlags.TRANSFERABLE != 0;
        terms.capacityBound = c.capacityBound;
        terms.minAssurance = c.minAssurance;
        terms.watcherSet = r.watcherSet;
        terms.challengeWindow = r.challengeWindow;
        terms.maxRate = c.maxRate;
        terms.expiry = c.expiry;
        terms.maxSupply = c.maxSupply;
        terms.maxPerHolder = c.maxPerHolder;
        terms.sku = c.sku;
        terms.region = c.region;
        terms.paymentToken = c.paymentToken;
        terms.pricePerMillion = c.pricePerMillion;
        terms.priceFeed = c.priceFeed;
        terms.maxPriceAge = c.maxPriceAge;
        terms.eligibility = c.eligibility;
        terms.arbiterSet = r.arbiterSet;
        terms.stakePerMillion = r.stakePerMillion;
        terms.maxDeviationBps = c.maxDeviationBps;
        terms.name = c.name;
    }

    /// @inheritdoc IComputeCredits
    function classRateCeiling(uint256 classId) external view returns (uint256) {
        return _classes[classId].maxRate;
    }

    /// @inheritdoc IComputeCredits
    function policyOf(uint256 classId) external view returns (uint256) {
        Class storage class_ = _classes[classId];
        return ClassPolicy.pack(class_.flags, class_.minAssurance, class_.requirement);
    }

    /// @inheritdoc IComputeCredits
    function reviewTerms(uint256 classId) external view returns (ReviewTerms memory) {
        return _classes[classId].review;
    }

    /// @inheritdoc IComputeCredits
    function saleTerms(uint256 classId) external view returns (SaleTerms memory terms) {
        terms.open = !isWoundDown(classId);
        Class storage c = _classes[classId];
        (terms.funding, terms.decimals) = (c.review.funding, c.review.decimals);
        (terms.paymentToken, terms.pricePerMillion) = (c.paymentToken, c.pricePerMillion);
        if (c.flags & ClassFlags.FEED == 0) return terms;
        (terms.priceFeed, terms.maxPriceAge, terms.maxDeviationBps) = (c.priceFeed, c.maxPriceAge, c.maxDeviationBps);
    }

    /// @inheritdoc IComputeCredits
    function providerTerms(uint256 classId, address provider) external view returns (ServingTerms memory) {
        return ServingTerms({
            requirement: _classes[classId].requirement,
            listed: isListed(classId, provider),
            staked: _has(classId, ClassFlags.STAKED)
        });
    }

    /// @inheritdoc IComputeCredits
    function totalSupply(uint256 classId) public view returns (uint256) {
        return _classes[classId].supply;
    }

    /// @inheritdoc IComputeCredits
    function isClosed(uint256 classId) external view returns (bool) {
        return _has(classId, ClassFlags.CLOSED);
    }

    /// @inheritdoc IComputeCredits
    function pausedUntil(uint256 classId) external view returns (uint256) {
        return _classes[classId].pausedUntil;
    }

    /// @inheritdoc IComputeCredits
    function isWoundDown(uint256 classId) public view returns (bool) {
        _checkExists(classId);
        return _has(classId, ClassFlags.CLOSED) || _isPast(_classes[classId].expiry);
    }

    /// @inheritdoc IComputeCredits
    function isListed(uint256 classId, address provider) public view returns (bool) {
        return !_has(classId, ClassFlags.LISTED) || _classes[classId].listed[provider];
    }

    /// @notice Metadata as a JSON data URI, built on chain from the terms.
    function uri(uint256 classId) public view override returns (string memory) {
        return METADATA.uri(classId, classTerms(classId));
    }

    /// @inheritdoc IComputeCredits
    function contractURI() external view returns (string memory) {
        return METADATA.contractURI();
    }

    function supportsInterface(bytes4 interfaceId)
        public
        view
        override(ERC1155, AccessControlDefaultAdminRules, IERC165)
        returns (bool)
    {
        return ERC1155.supportsInterface(interfaceId) || AccessControlDefaultAdminRules.supportsInterface(interfaceId);
    }

    /* INTERNAL */

    /// @dev Safe casts: `ClassRules` holds the values against the same maxima.
    function _store(uint256 classId, ClassTerms calldata t, uint8 flags) private {
        Class storage c = _classes[classId];
        c.expiry = t.expiry;
        c.maxRate = t.maxRate;
        c.minAssurance = t.minAssurance;
        c.flags = flags;
        c.issuer = t.issuer;
        c.maxSupply = uint96(t.maxSupply);
        c.eligibility = t.eligibility;
        c.maxPerHolder = uint96(t.maxPerHolder);
        c.paymentToken = t.paymentToken;
        c.pricePerMillion = uint96(t.pricePerMillion);
        c.priceFeed = t.priceFeed;
        c.maxPriceAge = t.maxPriceAge;
        c.maxDeviationBps = t.maxDeviationBps;
        c.capacityBound = t.capacityBound;
        ReviewTerms storage r = c.review;
        r.watcherSet = t.watcherSet;
        r.arbiterSet = t.arbiterSet;
        r.challengeWindow = t.challengeWindow;
        r.stakePerMillion = t.stakePerMillion;
        r.decimals = t.decimals;
        r.resource = t.resource;
        r.funding = t.funding;
        // As `ProviderRegistry.requirementOf`.
        c.requirement = bytes20(keccak256(abi.encode(t.sku, t.region)));
        c.sku = t.sku;
        c.region = t.region;
        c.name = t.name;
    }

    function _checkIssuer(uint256 classId) private view {
        _checkExists(classId);
        address issuer = _classes[classId].issuer;
        if (msg.sender != issuer) revert ComputeCredits_NotIssuer(classId, msg.sender, issuer);
    }
}
