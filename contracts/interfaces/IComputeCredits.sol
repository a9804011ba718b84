// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC1155} from "@openzeppelin/contracts/token/ERC1155/IERC1155.sol";
import {ClassTerms, Funding, ReviewTerms, SaleTerms, ServingTerms, Usage} from "./Types.sol";

/// @title Credits: one ERC-1155 id per class, with terms that never change.
interface IComputeCredits is IERC1155 {
    event ClassCreated(uint256 indexed classId, address indexed issuer, ClassTerms terms, address[] providers);
    event ClassClosed(uint256 indexed classId);
    event ClassPaused(uint256 indexed classId, uint256 until);

    error ComputeCredits_UnknownClass(uint256 classId, uint256 given, uint256 limit);
    /// @notice A term is out of its range. `field` is the position of the term in `ClassTerms`, from 0.
    error ComputeCredits_BadTerm(uint256 field, uint256 given, uint256 limit);
    error ComputeCredits_TooManyProviders(uint256 classId, uint256 given, uint256 limit);
    /// @notice Someone other than the issuer calls, creates the class, or is listed where only the issuer may serve.
    error ComputeCredits_NotIssuer(uint256 classId, address given, address limit);
    error ComputeCredits_NotAuthorised(uint256 classId, address given, address limit);
    error ComputeCredits_WrongFunding(uint256 classId, Funding given, Funding limit);
    error ComputeCredits_Closed(uint256 classId, uint256 given, uint256 limit);
    error ComputeCredits_Paused(uint256 classId, uint256 given, uint256 limit);
    error ComputeCredits_PauseTooLong(uint256 classId, uint256 given, uint256 limit);
    error ComputeCredits_UnknownSet(uint256 classId, uint256 given, uint256 limit);
    error ComputeCredits_Expired(uint256 classId, uint256 given, uint256 limit);
    error ComputeCredits_SupplyCap(uint256 classId, uint256 given, uint256 limit);
    error ComputeCredits_HolderCap(uint256 classId, uint256 given, uint256 limit);
    error ComputeCredits_AccountBound(uint256 classId, address given, address limit);
    error ComputeCredits_NotEligible(uint256 classId, address given, address limit);

    /// @notice Creates a class. Caller must hold ISSUER_ROLE and be `terms.issuer`.
    /// @param providers Only these may serve the class; empty for any provider of its SKU and region.
    function createClass(ClassTerms calldata terms, address[] calldata providers) external returns (uint256 classId);

    /// @notice Ends sales for good and lets holders reclaim the backing. Issuer only.
    function closeClass(uint256 classId) external;

    /// @notice Stops sales, grants, new jobs and new sessions of a class until a time at most `MAX_PAUSE` ahead; a time
    /// that is past ends the pause. Transfers, settlements and every way out go on. PAUSER_ROLE only.
    function pauseClass(uint256 classId, uint40 until) external;

    /// @notice Mints units of a granted class, or of a stake-funded one within the issuer's stake. Issuer only.
    function grant(address to, uint256 classId, uint256 units) external;

    /// @notice Mints units that were paid for. Reserve only.
    function mint(address to, uint256 classId, uint256 units) external;

    /// @notice Burns a holder's units against backing. Reserve only, for a holder who asked.
    /// @return supplyBefore Base units in existence before the burn.
    function burn(address from, uint256 classId, uint256 units) external returns (uint256 supplyBefore);

    /// @notice Locks `units` of `from`: they stay its balance and can't be moved. Job market only, for a payer who agreed.
    /// @return policy `policyOf` the class.
    function lockUnits(address from, uint256 classId, uint256 units) external returns (uint256 policy);

    /// @notice Ends locks and burns what was used. Job market only.
    /// @return burned Base units burned.
    /// @return supplyBefore Base units in existence before the burn; 0 if there was none.
    function releaseUnits(uint256 classId, Usage[] calldata usages)
        external
        returns (uint256 burned, uint256 supplyBefore);

    /// @notice Moves `units` of `from` to the sessions. Sessions only, for a payer who agreed.
    function deposit(address from, uint256 classId, uint256 units) external;

    /// @notice Gives back what a session of `to` didn't spend. Sessions only. The receiver isn't called, so that it can't
    /// stop a session from closing.
    /// @param deposited What the session had taken in all; it no longer counts towards the cap on holdings.
    function refund(address to, uint256 classId, uint256 units, uint256 deposited) external;

    /// @notice Burns deposited units that were used. Sessions only.
    /// @return supplyBefore Base units in existence before the burn.
    function spend(uint256 classId, uint256 units) external returns (uint256 supplyBefore);

    /// @notice `setApprovalForAll` for an owner who signed `Approval(owner, operator, approved, nonce, deadline)`.
    /// @param nonce Any number the owner hasn't used: see `useNonce`.
    function setApprovalForAllBySig(
        address owner,
        address operator,
        bool approved,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external;

    /// @notice Units of `account` that are locked in jobs. `balanceOf` includes them.
    function lockedOf(address account, uint256 classId) external view returns (uint256);

    /// @notice Units of `account` that can be moved, locked or deposited.
    function availableOf(address account, uint256 classId) external view returns (uint256);

    /// @notice Units that sessions of `account` have taken and not ended with; counted for classes with a cap only.
    function depositedOf(address account, uint256 classId) external view returns (uint256);

    function classTerms(uint256 classId) external view returns (ClassTerms memory);
    function saleTerms(uint256 classId) external view returns (SaleTerms memory);

    /// @notice Most base units a single resource can use in a second. Zero for an unknown class, so that a batch that names
    /// one isn't stopped.
    function classRateCeiling(uint256 classId) external view returns (uint256);

    /// @notice What the class asks of a job, as one word of `ClassPolicy`; zero for an unknown class. Closing a class sets a
    /// flag; nothing else of it changes.
    function policyOf(uint256 classId) external view returns (uint256);

    /// @notice All zero for an unknown class.
    function reviewTerms(uint256 classId) external view returns (ReviewTerms memory);

    /// @notice What a provider must have to serve the class, and whether the class's own list admits it.
    function providerTerms(uint256 classId, address provider) external view returns (ServingTerms memory);

    function classCount() external view returns (uint256);
    function totalSupply(uint256 classId) external view returns (uint256);
    function isClosed(uint256 classId) external view returns (bool);
    function pausedUntil(uint256 classId) external view returns (uint256);

    /// @notice ERC-7572 metadata of the whole contract, as a JSON data URI.
    function contractURI() external view returns (string memory);

    /// @notice Whether holders can take their share of the backing: closed by the issuer, or expired.
    function isWoundDown(uint256 classId) external view returns (bool);

    /// @notice Whether `provider` may serve the class as far as the class's own list says.
    function isListed(uint256 classId, address provider) external view returns (bool);
}
