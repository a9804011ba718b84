// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Base64} from "@openzeppelin/contracts/utils/Base64.sol";
import {Strings} from "@openzeppelin/contracts/utils/Strings.sol";
import {IClassMetadata} from "./interfaces/IClassMetadata.sol";
import {IReceiptVerifier} from "./interfaces/IReceiptVerifier.sol";
import {ClassTerms, Funding, Resource} from "./interfaces/Types.sol";
import {ClassRules} from "./libraries/ClassRules.sol";
import {JsonText} from "./libraries/JsonText.sol";

/// @title ClassMetadata
/// @dev Trust model. Stateless, callable by anyone and trusted with nothing: it only formats what it is given. A contract of
/// its own because `ComputeCredits` would not fit EIP-170 with it. Names are any bytes: see `JsonText`.
contract ClassMetadata is IClassMetadata {
    using Strings for uint256;
    using Strings for address;

    /// @inheritdoc IClassMetadata
    function checkTerms(
        uint256 classId,
        IReceiptVerifier verifier,
        ClassTerms calldata terms,
        address[] calldata providers
    ) external view returns (uint8 flags) {
        ClassRules.check(classId, terms, providers);
        ClassRules.checkSet(classId, verifier, terms.watcherSet);
        ClassRules.checkSet(classId, verifier, terms.arbiterSet);
        // Safe cast: there are eight flags.
        return uint8(ClassRules.flags(terms, providers.length != 0));
    }

    /// @inheritdoc IClassMetadata
    function uri(uint256 classId, ClassTerms memory t, uint256 supply) external pure returns (string memory) {
        bytes memory json = abi.encodePacked(
            '{"name":"',
            JsonText.escape(bytes(t.name)),
            '","description":"Scrip compute credits, class ',
            classId.toString(),
            '","decimals":',
            uint256(t.decimals).toString(),
            ',"properties":{',
            _work(t),
            _review(t),
            _policy(t),
            _money(t, supply),
            _feed(t),
            "}}"
        );
        return _dataUri(json);
    }

    /// @inheritdoc IClassMetadata
    function contractURI() external pure returns (string memory) {
        return _dataUri(
            '{"name":"Scrip compute credits","symbol":"SCRIP","description":"Prepaid compute. Each id is a class of credits '
            "whose terms never change; credits are redeemed for metered work and burned as it is paid for." '"}'
        );
    }

    function _work(ClassTerms memory t) private pure returns (bytes memory) {
        return abi.encodePacked(
            '"resource":"',
            _resourceName(t.resource),
            '","sku":"',
            uint256(t.sku).toHexString(32),
            '","region":"',
            JsonText.escape(_untilZero(t.region)),
            '","maxRate":"',
            uint256(t.maxRate).toString(),
            '","capacityBound":',
            _bool(t.capacityBound)
        );
    }

    function _review(ClassTerms memory t) private pure returns (bytes memory) {
        return abi.encodePacked(
            ',"minAssurance":',
            uint256(t.minAssurance).toString(),
            ',"watcherSet":',
            uint256(t.watcherSet).toString(),
            ',"challengeWindow":',
            uint256(t.challengeWindow).toString(),
            ',"arbiterSet":',
            uint256(t.arbiterSet).toString(),
            ',"stakePerMillion":"',
            uint256(t.stakePerMillion).toString(),
            '"'
        );
    }

    function _policy(ClassTerms memory t) private pure returns (bytes memory) {
        return abi.encodePacked(
            ',"transferable":',
            _bool(t.transferable),
            ',"expiry":',
            uint256(t.expiry).toString(),
            ',"maxPerHolder":"',
            uint256(t.maxPerHolder).toString(),
            '","eligibility":"',
            t.eligibility.toHexString(),
            '"'
        );
    }

    // Amounts are strings: JSON readers lose integers over 2**53.
    function _money(ClassTerms memory t, uint256 supply) private pure returns (bytes memory) {
        return abi.encodePacked(
            ',"issuer":"',
            t.issuer.toHexString(),
            '","funding":"',
            _fundingName(t.funding),
            '","supply":"',
            supply.toString(),
            '","maxSupply":"',
            uint256(t.maxSupply).toString(),
            '","paymentToken":"',
            t.paymentToken.toHexString(),
            '","pricePerMillion":"',
            uint256(t.pricePerMillion).toString(),
            '"'
        );
    }

    function _feed(ClassTerms memory t) private pure returns (bytes memory) {
        return abi.encodePacked(
            ',"priceFeed":"',
            t.priceFeed.toHexString(),
            '","maxPriceAge":',
            uint256(t.maxPriceAge).toString(),
            ',"maxDeviationBps":',
            uint256(t.maxDeviationBps).toString()
        );
    }

    function _resourceName(Resource resource) private pure returns (string memory) {
        if (resource == Resource.GpuSecond) return "gpu-second";
        if (resource == Resource.CpuSecond) return "cpu-second";
        if (resource == Resource.OutputToken) return "llm-output-token";
        if (resource == Resource.InputToken) return "llm-input-token";
        if (resource == Resource.GbHour) return "gb-hour";
        if (resource == Resource.GbTransfer) return "gb-transfer";
        return "none";
    }

    function _fundingName(Funding funding) private pure returns (string memory) {
        if (funding == Funding.Sale) return "sale";
        if (funding == Funding.Stake) return "stake";
        return "grant";
    }

    function _bool(bool value) private pure returns (string memory) {
        return value ? "true" : "false";
    }

    function _untilZero(bytes12 word) private pure returns (bytes memory out) {
        uint256 length;
        while (length < 12 && word[length] != 0) ++length;
        out = new bytes(length);
        for (uint256 i; i < length; ++i) {
            out[i] = word[i];
        }
    }

    function _dataUri(bytes memory json) private pure returns (string memory) {
        return string.concat("data:application/json;base64,", Base64.encode(json));
    }
}
