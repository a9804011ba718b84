// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {
    AccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";
import {ERC1155} from "@openzeppelin/contracts/token/ERC1155/ERC1155.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {CreditLedger} from "./CreditLedger.sol";
import {IClassMetadata} from "./interfaces/IClassMetadata.sol";
import {IComputeCredits} from "./interfaces/IComputeCredits.sol";
import {ClassTerms, Funding, Resource, SaleTerms, SettlementTerms} from "./interfaces/Types.sol";

/// @title ComputeCredits
/// @dev Trust model.
/// - Only the reserve mints sold units, only the job market locks, releases and burns locked ones. Both are immutable:
///   no role, the admin included, can move, mint or burn a holder's credits.
/// - An issuer chooses terms once, may close its class and may mint units of its granted (unbacked) classes.
/// - The admin only says who may be an issuer, after a delay for its own hand-over.
contract ComputeCredits is CreditLedger, AccessControlDefaultAdminRules {
    /* CONSTANTS */

    bytes32 public constant ISSUER_ROLE = keccak256("ISSUER_ROLE");
    uint256 public constant MAX_PROVIDERS = 64;
    uint256 public constant MAX_NAME_BYTES = 64;
    uint256 public constant MAX_DECIMALS = 18;
    uint256 public constant MAX_ASSURANCE = 3;
    uint256 public constant MAX_CHALLENGE_WINDOW = 30 days;
    uint256 private constant WATCHED_ASSURANCE = 2;

    address public immutable RESERVE;
    IClassMetadata public immutable METADATA;

    /* STORAGE */

    /// @dev What is read on creation, sale, acceptance and display only.
    struct ColdTerms {
        address issuer;
        Funding funding;
        bool capacityBound;
        uint32 maxPriceAge;
        address paymentToken;
        uint96 maxSupply;
        address priceFeed;
        uint128 pricePerMillion;
        bytes32 sku;
        string name;
    }

    mapping(uint256 classId => SettlementTerms) private _settlementTerms;
    mapping(uint256 classId => ColdTerms) private _cold;
    mapping(uint256 classId => mapping(address provider => bool)) private _listed;

    /* CONSTRUCTOR */

    constructor(address admin, uint48 adminDelay, address reserve, address market, IClassMetadata metadata)
        CreditLedger(market)
        AccessControlDefaultAdminRules(adminDelay, admin)
    {
        RESERVE = reserve;
        METADATA = metadata;
    }

    /* CLASSES */

    /// @inheritdoc IComputeCredits
    function createClass(ClassTerms calldata terms, address[] calldata providers)
        external
        onlyRole(ISSUER_ROLE)
        returns (uint256 classId)
    {
        _checkTerms(terms);
        if (providers.length > MAX_PROVIDERS) {
            revert ComputeCredits_TooManyProviders(classCount + 1, providers.length, MAX_PROVIDERS);
        }
        classId = ++classCount;
        _store(classId, terms, providers.length != 0);
        for (uint256 i; i < providers.length; ++i) {
            _listed[classId][providers[i]] = true;
        }
        emit ClassCreated(classId, msg.sender, terms, providers);
        emit URI(uri(classId), classId);
    }

    /// @inheritdoc IComputeCredits
    function closeClass(uint256 classId) external {
        _checkIssuer(classId);
        if (_classes[classId].closed) revert ComputeCredits_Closed(classId, 1, 0);
        _classes[classId].closed = true;
        emit ClassClosed(classId);
    }

    /* MINT AND BURN */

    /// @inheritdoc IComputeCredits
    function grant(address to, uint256 classId, uint256 units) external {
        _checkIssuer(classId);
        Funding funding = _cold[classId].funding;
        if (funding != Funding.Grant) revert ComputeCredits_WrongFunding(classId, funding, Funding.Grant);
        _mintUnits(to, classId, units);
    }

    /// @inheritdoc IComputeCredits
    function mint(address to, uint256 classId, uint256 units) external {
        _only(RESERVE, classId);
        _checkExists(classId);
        _mintUnits(to, classId, units);
    }

    /// @inheritdoc IComputeCredits
    function burn(address from, uint256 classId, uint256 units) external returns (uint256 supplyBefore) {
        _only(RESERVE, classId);
        return _burnUnits(from, classId, units);
    }

    /* VIEWS */

    /// @inheritdoc IComputeCredits
    function classTerms(uint256 classId) public view returns (ClassTerms memory terms) {
        _checkExists(classId);
        ClassState memory state = _classes[classId];
        SettlementTerms memory s = _settlementTerms[classId];
        ColdTerms storage c = _cold[classId];
        terms.issuer = c.issuer;
        terms.resource = s.resource;
        terms.decimals = s.decimals;
        terms.funding = c.funding;
        terms.transferable = state.transferable;
        terms.capacityBound = c.capacityBound;
        terms.minAssurance = s.minAssurance;
        terms.watcherSet = s.watcherSet;
        terms.challengeWindow = s.challengeWindow;
        terms.maxRate = s.maxRate;
        terms.expiry = state.expiry;
        terms.maxSupply = c.maxSupply;
        terms.maxPerHolder = _restrictions[classId].maxPerHolder;
        terms.sku = c.sku;
        terms.region = s.region;
        terms.paymentToken = c.paymentToken;
        terms.pricePerMillion = c.pricePerMillion;
        terms.priceFeed = c.priceFeed;
        terms.maxPriceAge = c.maxPriceAge;
        terms.eligibility = _restrictions[classId].eligibility;
        terms.name = c.name;
    }

    /// @inheritdoc IComputeCredits
    function settlementTerms(uint256 classId) external view returns (SettlementTerms memory) {
        return _settlementTerms[classId];
    }

    /// @inheritdoc IComputeCredits
    function saleTerms(uint256 classId) external view returns (SaleTerms memory) {
        ColdTerms storage c = _cold[classId];
        return SaleTerms({
            funding: c.funding,
            decimals: _settlementTerms[classId].decimals,
            open: !isWoundDown(classId),
            paymentToken: c.paymentToken,
            pricePerMillion: c.pricePerMillion
        });
    }

    /// @inheritdoc IComputeCredits
    function servingTerms(uint256 classId, address provider)
        external
        view
        returns (bytes32 sku, bytes12 region, bool listed)
    {
        return (_cold[classId].sku, _settlementTerms[classId].region, isListed(classId, provider));
    }

    /// @inheritdoc IComputeCredits
    function totalSupply(uint256 classId) public view returns (uint256) {
        return _classes[classId].supply;
    }

    /// @inheritdoc IComputeCredits
    function isClosed(uint256 classId) external view returns (bool) {
        return _classes[classId].closed;
    }

    /// @inheritdoc IComputeCredits
    function isWoundDown(uint256 classId) public view returns (bool) {
        _checkExists(classId);
        return _classes[classId].closed || _isPast(_classes[classId].expiry);
    }

    /// @inheritdoc IComputeCredits
    function isListed(uint256 classId, address provider) public view returns (bool) {
        return !_settlementTerms[classId].providersListed || _listed[classId][provider];
    }

    /// @notice Metadata as a JSON data URI, built on chain from the terms.
    function uri(uint256 classId) public view override returns (string memory) {
        return METADATA.uri(classId, classTerms(classId), totalSupply(classId));
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

    function _store(uint256 classId, ClassTerms calldata t, bool providersListed) private {
        _classes[classId] = ClassState({
            supply: 0,
            locked: 0,
            expiry: t.expiry,
            transferable: t.transferable,
            closed: false,
            restricted: t.maxPerHolder != 0 || t.eligibility != address(0)
        });
        _restrictions[classId] = Restriction(t.eligibility, t.maxPerHolder);
        _settlementTerms[classId] = SettlementTerms({
            resource: t.resource,
            decimals: t.decimals,
            minAssurance: t.minAssurance,
            providersListed: providersListed,
            watcherSet: t.watcherSet,
            challengeWindow: t.challengeWindow,
            maxRate: t.maxRate,
            region: t.region
        });
        ColdTerms storage c = _cold[classId];
        c.issuer = t.issuer;
        c.funding = t.funding;
        c.capacityBound = t.capacityBound;
        c.maxPriceAge = t.maxPriceAge;
        c.paymentToken = t.paymentToken;
        // Safe cast: checked against the same maximum by `_checkTerms`.
        c.maxSupply = uint96(t.maxSupply);
        c.priceFeed = t.priceFeed;
        c.pricePerMillion = t.pricePerMillion;
        c.sku = t.sku;
        c.name = t.name;
    }

    function _checkTerms(ClassTerms calldata t) private view {
        if (t.issuer != msg.sender) revert ComputeCredits_NotIssuer(classCount + 1, t.issuer, msg.sender);
        _checkTerm(1, uint256(t.resource), 1, uint256(type(Resource).max));
        _checkTerm(2, t.decimals, 0, MAX_DECIMALS);
        // Issuing against stake and attested capacity is not offered: such a class could not be enforced.
        if (t.funding == Funding.Stake) revert ComputeCredits_BadTerm(3, uint256(t.funding), uint256(Funding.Grant));
        _checkTerm(5, t.capacityBound ? 1 : 0, 0, 0);
        _checkTerm(6, t.minAssurance, 0, MAX_ASSURANCE);
        _checkTerm(7, t.watcherSet, t.minAssurance >= WATCHED_ASSURANCE ? 1 : 0, type(uint32).max);
        _checkTerm(8, t.challengeWindow, 0, MAX_CHALLENGE_WINDOW);
        _checkTerm(9, t.maxRate, 1, type(uint64).max);
        if (t.expiry != 0) _checkTerm(10, t.expiry, block.timestamp + 1, type(uint40).max);
        _checkTerm(11, t.maxSupply, 1, type(uint96).max);
        bool sold = t.funding == Funding.Sale;
        _checkTerm(15, uint160(t.paymentToken), sold ? 1 : 0, sold ? type(uint160).max : 0);
        _checkTerm(16, t.pricePerMillion, sold ? 1 : 0, sold ? type(uint128).max : 0);
        // Sales are at the fixed price: a feed would be ignored, so it is refused.
        _checkTerm(17, uint160(t.priceFeed), 0, 0);
        _checkTerm(18, t.maxPriceAge, 0, 0);
        _checkTerm(20, bytes(t.name).length, 1, MAX_NAME_BYTES);
    }

    function _checkTerm(uint256 field, uint256 given, uint256 min, uint256 max) private pure {
        if (given < min) revert ComputeCredits_BadTerm(field, given, min);
        if (given > max) revert ComputeCredits_BadTerm(field, given, max);
    }

    function _checkIssuer(uint256 classId) private view {
        _checkExists(classId);
        address issuer = _cold[classId].issuer;
        if (msg.sender != issuer) revert ComputeCredits_NotIssuer(classId, msg.sender, issuer);
    }

    function _checkExists(uint256 classId) private view {
        if (classId == 0 || classId > classCount) revert ComputeCredits_UnknownClass(classId, classId, classCount);
    }

    function _maxSupply(uint256 classId) internal view override returns (uint256) {
        return _cold[classId].maxSupply;
    }
}
