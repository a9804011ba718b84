// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Base64} from "@openzeppelin/contracts/utils/Base64.sol";
import {Strings} from "@openzeppelin/contracts/utils/Strings.sol";
import {IClassMetadata} from "./interfaces/IClassMetadata.sol";
import {ClassTerms, Funding, Resource} from "./interfaces/Types.sol";

/// @title ClassMetadata
/// @dev Stateless and trusted with nothing: a contract of its own only because `ComputeCredits` would not fit EIP-170.
contract ClassMetadata is IClassMetadata {
    using Strings for uint256;
    using Strings for address;

    /// @inheritdoc IClassMetadata
    function uri(uint256 classId, ClassTerms memory t, uint256 supply) external pure returns (string memory) {
        bytes memory json = abi.encodePacked(
            '{"name":"',
            Strings.escapeJSON(t.name),
            '","description":"Scrip compute credits, class ',
            classId.toString(),
            '","decimals":',
            uint256(t.decimals).toString(),
            ',"properties":{',
            _work(t),
            _policy(t),
            _money(t, supply),
            "}}"
        );
        return string.concat("data:application/json;base64,", Base64.encode(json));
    }

    function _work(ClassTerms memory t) private pure returns (bytes memory) {
        return abi.encodePacked(
            '"resource":"',
            _resourceName(t.resource),
            '","sku":"',
            uint256(t.sku).toHexString(32),
            '","region":"',
            Strings.escapeJSON(_ascii(t.region)),
            '","minAssurance":',
            uint256(t.minAssurance).toString(),
            ',"watcherSet":',
            uint256(t.watcherSet).toString(),
            ',"challengeWindow":',
            uint256(t.challengeWindow).toString(),
            ',"maxRate":"',
            uint256(t.maxRate).toString(),
            '"'
        );
    }

    function _policy(ClassTerms memory t) private pure returns (bytes memory) {
        return abi.encodePacked(
            ',"transferable":',
            t.transferable ? "true" : "false",
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

    /// @dev The characters before the first zero byte.
    function _ascii(bytes12 word) private pure returns (string memory) {
        uint256 length;
        while (length < 12 && word[length] != 0) ++length;
        bytes memory out = new bytes(length);
        for (uint256 i; i < length; ++i) {
            out[i] = word[i];
        }
        return string(out);
    }
}
