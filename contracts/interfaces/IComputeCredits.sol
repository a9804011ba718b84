// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC1155} from "@openzeppelin/contracts/token/ERC1155/IERC1155.sol";
import {ClassTerms, Funding, Release, SaleTerms, SettlementTerms} from "./Types.sol";

/// @title Credits: one ERC-1155 id per class, with terms that never change.
interface IComputeCredits is IERC1155 {
    event ClassCreated(uint256 indexed classId, address indexed issuer, ClassTerms terms, address[] providers);
    event ClassClosed(uint256 indexed classId);

    error ComputeCredits_UnknownClass(uint256 classId, uint256 given, uint256 limit);
    /// @notice A term is out of its range. `field` is the position of the term in `ClassTerms`, from 0.
    error ComputeCredits_BadTerm(uint256 field, uint256 given, uint256 limit);
    error ComputeCredits_TooManyProviders(uint256 classId, uint256 given, uint256 limit);
    error ComputeCredits_NotIssuer(uint256 classId, address given, address limit);
    error ComputeCredits_NotAuthorised(uint256 classId, address given, address limit);
    error ComputeCredits_WrongFunding(uint256 classId, Funding given, Funding limit);
    error ComputeCredits_Closed(uint256 classId, uint256 given, uint256 limit);
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

    /// @notice Mints units of a granted class, without backing. Issuer only.
    function grant(address to, uint256 classId, uint256 units) external;

    /// @notice Mints units that were paid for. Reserve only.
    function mint(address to, uint256 classId, uint256 units) external;

    /// @notice Burns a holder's units against backing. Reserve only, for a holder who asked.
    /// @return supplyBefore Base units in existence before the burn.
    function burn(address from, uint256 classId, uint256 units) external returns (uint256 supplyBefore);

    /// @notice Moves `units` from `from` into the job market. Job market only, for a payer who agreed.
    function lock(address from, uint256 classId, uint256 units) external;

    /// @notice Burns locked units that were used and gives others back. Job market only. Receivers are not called, so
    /// that no payer can block a settlement: the credits were theirs before.
    /// @return supplyBefore Base units in existence before the burn.
    function settle(uint256 classId, uint256 burned, Release[] calldata releases)
        external
        returns (uint256 supplyBefore);

    function classTerms(uint256 classId) external view returns (ClassTerms memory);
    function settlementTerms(uint256 classId) external view returns (SettlementTerms memory);
    function saleTerms(uint256 classId) external view returns (SaleTerms memory);

    /// @notice What a provider must have to serve the class, and whether the class's own list admits it.
    function servingTerms(uint256 classId, address provider)
        external
        view
        returns (bytes32 sku, bytes12 region, bool listed);

    function classCount() external view returns (uint256);
    function totalSupply(uint256 classId) external view returns (uint256);
    function isClosed(uint256 classId) external view returns (bool);

    /// @notice Whether holders can take their share of the backing: closed by the issuer, or expired.
    function isWoundDown(uint256 classId) external view returns (bool);

    /// @notice Whether `provider` may serve the class as far as the class's own list says.
    function isListed(uint256 classId, address provider) external view returns (bool);
}
