// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC1155MetadataURI} from "@openzeppelin/contracts/token/ERC1155/extensions/IERC1155MetadataURI.sol";
import {Base64} from "@openzeppelin/contracts/utils/Base64.sol";
import {IClassMetadata} from "contracts/interfaces/IClassMetadata.sol";
import {ClassTerms, Funding, Resource} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";

/// @dev The JSON that a class shows for itself, decoded and parsed as a wallet would.
contract ClassMetadataTest is Base {
    string private constant PREFIX = "data:application/json;base64,";

    function testFuzz_Uri(uint128 units, uint64 rate, uint32 window, uint40 expiry) public {
        ClassTerms memory terms = _watchedTerms();
        terms.region = REGION;
        terms.maxRate = uint64(bound(rate, 1, type(uint64).max));
        terms.challengeWindow = uint32(bound(window, 0, 30 days));
        terms.expiry = uint40(bound(expiry, START + 1, type(uint40).max));
        terms.maxPerHolder = type(uint96).max;
        uint256 id = _createClass(terms);
        units = uint128(bound(units, 1, MAX_UNITS));
        _buy(alice.addr, id, units);
        string memory json = _json(id);
        assertEq(vm.parseJsonString(json, ".name"), terms.name, "name");
        assertEq(vm.parseJsonUint(json, ".decimals"), DECIMALS, "decimals");
        assertEq(
            vm.parseJsonString(json, ".description"),
            string.concat("Scrip compute credits, class ", vm.toString(id)),
            "description"
        );
        _assertWork(json, terms);
        _assertMoney(json, terms, units);
    }

    function test_Uri_NamesEveryResource() public {
        string[6] memory names =
            ["gpu-second", "cpu-second", "llm-output-token", "llm-input-token", "gb-hour", "gb-transfer"];
        for (uint256 i; i < names.length; ++i) {
            ClassTerms memory terms = _saleTerms();
            terms.resource = Resource(i + 1);
            assertEq(vm.parseJsonString(_json(_createClass(terms)), ".properties.resource"), names[i], "resource");
        }
    }

    function test_Uri_NamesTheFunding() public {
        assertEq(vm.parseJsonString(_json(plain), ".properties.funding"), "sale", "sale");
        uint256 granted = _createClass(_grantTerms());
        assertEq(vm.parseJsonString(_json(granted), ".properties.funding"), "grant", "grant");
    }

    /// @dev Terms that no class can have now are named all the same.
    function test_Uri_NamesWhatIsNotOfferedYet() public {
        IClassMetadata metadata = IClassMetadata(deployCode("ClassMetadata.sol:ClassMetadata"));
        ClassTerms memory terms = _saleTerms();
        (terms.resource, terms.funding) = (Resource.None, Funding.Stake);
        string memory json = _decode(metadata.uri(1, terms, 0));
        assertEq(vm.parseJsonString(json, ".properties.resource"), "none", "resource");
        assertEq(vm.parseJsonString(json, ".properties.funding"), "stake", "funding");
    }

    /// @dev A name can't break out of its string, whatever ASCII it is made of.
    function testFuzz_Uri_EscapesTheName(bytes32 word, uint256 length) public {
        length = bound(length, 1, 32);
        bytes memory name = new bytes(length);
        for (uint256 i; i < length; ++i) {
            name[i] = word[i] & 0x7f;
        }
        ClassTerms memory terms = _saleTerms();
        terms.name = string(name);
        string memory json = _json(_createClass(terms));
        assertEq(vm.parseJsonString(json, ".name"), terms.name, "name read back");
        assertEq(vm.parseJsonString(json, ".properties.funding"), "sale", "what follows is intact");
    }

    function test_Uri_EscapesTheRegion() public {
        ClassTerms memory terms = _saleTerms();
        terms.region = '"},"x":"';
        string memory json = _json(_createClass(terms));
        assertEq(vm.parseJsonString(json, ".properties.region"), '"},"x":"', "region");
        terms.region = "twelve-chars";
        assertEq(vm.parseJsonString(_json(_createClass(terms)), ".properties.region"), "twelve-chars", "full");
        assertEq(vm.parseJsonString(_json(plain), ".properties.region"), "", "none");
    }

    function _json(uint256 id) private view returns (string memory) {
        return _decode(IERC1155MetadataURI(address(credits)).uri(id));
    }

    function _decode(string memory dataUri) private pure returns (string memory) {
        bytes memory uri = bytes(dataUri);
        bytes memory body = new bytes(uri.length - bytes(PREFIX).length);
        for (uint256 i; i < uri.length; ++i) {
            if (i < bytes(PREFIX).length) assertEq(uri[i], bytes(PREFIX)[i], "data URI");
            else body[i - bytes(PREFIX).length] = uri[i];
        }
        return string(Base64.decode(string(body)));
    }

    function _assertWork(string memory json, ClassTerms memory terms) private pure {
        assertEq(vm.parseJsonString(json, ".properties.resource"), "cpu-second", "resource");
        assertEq(vm.parseJsonBytes32(json, ".properties.sku"), terms.sku, "sku");
        assertEq(vm.parseJsonString(json, ".properties.region"), "eu-west-1", "region");
        assertEq(vm.parseJsonUint(json, ".properties.minAssurance"), terms.minAssurance, "assurance");
        assertEq(vm.parseJsonUint(json, ".properties.watcherSet"), terms.watcherSet, "set");
        assertEq(vm.parseJsonUint(json, ".properties.challengeWindow"), terms.challengeWindow, "window");
        assertEq(vm.parseJsonUint(json, ".properties.maxRate"), terms.maxRate, "rate");
        assertEq(vm.parseJsonBool(json, ".properties.transferable"), true, "transferable");
        assertEq(vm.parseJsonUint(json, ".properties.expiry"), terms.expiry, "expiry");
        assertEq(vm.parseJsonAddress(json, ".properties.eligibility"), address(0), "eligibility");
    }

    function _assertMoney(string memory json, ClassTerms memory terms, uint256 supply) private pure {
        assertEq(vm.parseJsonAddress(json, ".properties.issuer"), terms.issuer, "issuer");
        assertEq(vm.parseJsonString(json, ".properties.funding"), "sale", "funding");
        assertEq(vm.parseJsonString(json, ".properties.supply"), vm.toString(supply), "supply");
        assertEq(vm.parseJsonString(json, ".properties.maxSupply"), vm.toString(terms.maxSupply), "max supply");
        assertEq(vm.parseJsonString(json, ".properties.maxPerHolder"), vm.toString(terms.maxPerHolder), "cap");
        assertEq(vm.parseJsonAddress(json, ".properties.paymentToken"), terms.paymentToken, "token");
        assertEq(vm.parseJsonString(json, ".properties.pricePerMillion"), vm.toString(terms.pricePerMillion), "price");
    }
}
