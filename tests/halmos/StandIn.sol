// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ClassTerms, ReviewTerms, SaleTerms, ServingTerms, Usage} from "contracts/interfaces/Types.sol";
import {ClassPolicy} from "contracts/libraries/ClassPolicy.sol";
import {Svm} from "./Symbolic.sol";

/// @dev Stands at the address of every contract of Scrip that is called, and of a token. Agrees to everything, and answers
/// anything that type and bounds of the original allow. Like the originals, it doesn't call back.
contract StandIn {
    Svm private constant svm = Svm(address(uint160(uint256(keccak256("svm cheat code")))));

    /* CREDITS */

    function lockUnits(address, uint256, uint256) external returns (uint256) {
        return _policy();
    }

    function deposit(address, uint256, uint256) external {}

    function refund(address, uint256, uint256, uint256) external {}

    function spend(uint256, uint256) external returns (uint256) {
        return svm.createUint(96, "supply");
    }

    function releaseUnits(uint256, Usage[] calldata usages)
        external
        pure
        returns (uint256 burned, uint256 supplyBefore)
    {
        for (uint256 i; i < usages.length; ++i) {
            burned += usages[i].used;
        }
        return (burned, burned);
    }

    function providerTerms(uint256, address) external returns (ServingTerms memory terms) {
        (terms.listed, terms.staked) = (svm.createBool("listed"), svm.createBool("staked"));
    }

    function classRateCeiling(uint256) external returns (uint256) {
        return svm.createUint(64, "maxRate");
    }

    function policyOf(uint256) external returns (uint256) {
        return _policy();
    }

    function isListed(uint256, address) external returns (bool) {
        return svm.createBool("listed");
    }

    /// @dev How much stake stands behind a job decides no status.
    function reviewTerms(uint256) external returns (ReviewTerms memory terms) {
        terms.challengeWindow = uint32(svm.createUint(21, "challengeWindow"));
    }

    function saleTerms(uint256) external returns (SaleTerms memory terms) {
        terms.open = svm.createBool("open");
        terms.paymentToken = svm.createAddress("paymentToken");
        terms.pricePerMillion = uint96(svm.createUint(96, "pricePerMillion"));
        terms.priceFeed = svm.createAddress("priceFeed");
    }

    function classTerms(uint256) external returns (ClassTerms memory terms) {
        terms.maxRate = uint64(svm.createUint(64, "maxRate"));
        terms.expiry = uint40(svm.createUint(40, "expiry"));
        terms.capacityBound = svm.createBool("capacityBound");
    }

    function totalSupply(uint256) external returns (uint256) {
        return svm.createUint(96, "supply");
    }

    function isWoundDown(uint256) external returns (bool) {
        return svm.createBool("isWoundDown");
    }

    /* REGISTRY */

    function bindClass(address, uint256) external {}

    function checkIssuance(address, uint256) external pure {}

    function requirementOf(bytes32, bytes12) external returns (bytes20) {
        return bytes20(svm.createAddress("requirement"));
    }

    /* TOKENS */

    function balanceOf(address) external returns (uint256) {
        return svm.createUint(96, "balance");
    }

    function transferFrom(address, address, uint256) external pure returns (bool) {
        return true;
    }

    function transfer(address, uint256) external pure returns (bool) {
        return true;
    }

    /* OTHERS */

    function costOf(uint256, uint256) external returns (uint256) {
        return svm.createUint(96, "cost");
    }

    function checkTerms(uint256, address, ClassTerms calldata, address[] calldata) external returns (uint8) {
        return uint8(svm.createUint(8, "flags"));
    }

    function creditEarningsOnBurn(uint256, address, uint256, uint256) external pure returns (uint256) {
        return 0;
    }

    function oracleNowServing(address) external returns (address) {
        return svm.createAddress("oracle");
    }

    function trustedOracleIfItQualifies(address, bytes20) external returns (address) {
        return svm.createAddress("oracle");
    }

    function reserveStake(address, uint256) external {}

    function freeStake(address, uint256) external {}

    function takeBond(bytes32, address) external pure returns (uint256) {
        return 0;
    }

    function releaseBond(bytes32, address) external {}

    function slash(bytes32, address, uint256, address, address) external pure returns (uint256) {
        return 0;
    }

    function domainSeparator() external pure returns (bytes32) {
        return keccak256("domain");
    }

    function verify(uint256, bytes32, bytes[] calldata) external pure {}

    function charge(uint256, address, address, address, uint256, uint256) external returns (uint256) {
        return svm.createUint(96, "charge");
    }

    function release(uint256, uint256) external {}

    function spenderOf(uint256) external returns (address) {
        return svm.createAddress("spender");
    }

    /* INTERNAL */

    function _policy() private returns (uint256) {
        return ClassPolicy.pack(
            svm.createUint(8, "flags"), svm.createUint(2, "minAssurance"), bytes20(svm.createAddress("requirement"))
        );
    }
}

/// @dev Agrees to nothing.
contract Refusal {
    fallback() external {
        revert();
    }
}
