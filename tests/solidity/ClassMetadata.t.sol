// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC1155MetadataURI} from "@openzeppelin/contracts/token/ERC1155/extensions/IERC1155MetadataURI.sol";
import {Base64} from "@openzeppelin/contracts/utils/Base64.sol";
import {ClassTerms, Resource} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";

/// @dev The JSON that a class shows for itself, decoded and parsed as a wallet would.
contract ClassMetadataTest is Base {
    string private constant PREFIX = "data:application/json;base64,";

    function testFuzz_Uri(uint128 units, uint64 rate, uint32 window, uint40 expiry, uint128 stake) public {
        ClassTerms memory terms = _watchedTerms();
        terms.region = REGION;
        terms.maxRate = uint64(bound(rate, 1, type(uint64).max));
        terms.challengeWindow = uint32(bound(window, 1, 30 days));
        // forge-lint: disable-next-line(unsafe-typecast)
        (terms.arbiterSet, terms.stakePerMillion) = (uint32(arbiterSet), stake);
        terms.expiry = uint40(bound(expiry, START + 1, type(uint40).max));
        terms.maxPerHolder = type(uint96).max;
        uint256 id = _createClass(terms);
        units = uint128(bound(units, 1, MAX_UNITS));
        string memory json = _json(id);
        _buy(alice.addr, id, units);
        _close(id);
        assertEq(_json(id), json, "says nothing that changes");
        assertEq(vm.parseJsonString(json, ".name"), terms.name, "name");
        assertEq(vm.parseJsonUint(json, ".decimals"), DECIMALS, "decimals");
        assertEq(
            vm.parseJsonString(json, ".description"),
            string.concat("Scrip compute credits, class ", vm.toString(id)),
            "description"
        );
        _assertWork(json, terms);
        _assertReview(json, terms);
        _assertMoney(json, terms);
        _assertFeed(json, terms);
    }

    function testFuzz_Uri_ShowsTheFeed(address feed, uint32 age, uint16 deviation) public {
        vm.assume(feed != address(0));
        ClassTerms memory terms = _saleTerms();
        terms.priceFeed = feed;
        terms.maxPriceAge = uint32(bound(age, 1, 7 days));
        terms.maxDeviationBps = uint16(bound(deviation, 1, BPS));
        _assertFeed(_json(_createClass(terms)), terms);
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

    function test_Uri_NamesWhatOnlyProvidersIssue() public view {
        ClassTerms memory terms = _prepaidTerms(1);
        terms.capacityBound = true;
        string memory json = _decode(metadata.uri(1, terms));
        assertEq(vm.parseJsonString(json, ".properties.funding"), "stake", "funding");
        assertTrue(vm.parseJsonBool(json, ".properties.capacityBound"), "capacity-bound");
        terms.resource = Resource.None;
        json = _decode(metadata.uri(1, terms));
        assertEq(vm.parseJsonString(json, ".properties.resource"), "none", "what no class has");
    }

    function test_ContractUri() public view {
        string memory json = _decode(credits.contractURI());
        assertEq(vm.parseJsonString(json, ".name"), "Scrip compute credits", "name");
        assertEq(vm.parseJsonString(json, ".symbol"), "SCRIP", "symbol");
        assertEq(
            vm.parseJsonString(json, ".description"),
            "Prepaid compute. Each id is a class of credits whose terms never change; "
            "credits are redeemed for metered work and burned as it is paid for.",
            "description"
        );
    }

    /// @dev A name can't break out of its string, whatever ASCII it is made of.
    function testFuzz_Uri_EscapesTheName(bytes32 word, uint256 length) public {
        length = bound(length, 1, 32);
        bytes memory name = new bytes(length);
        for (uint256 i; i < length; ++i) {
            name[i] = word[i] & 0x7f;
        }
        assertEq(_nameOf(name), string(name), "name read back");
    }

    function test_Uri_KeepsNamesOfAnyLanguage() public {
        string[4] memory names =
            [unicode"Größe, größer", unicode"計算クレジット", unicode"ключи", unicode"🦾"];
        for (uint256 i; i < names.length; ++i) {
            assertEq(_nameOf(bytes(names[i])), names[i], "name read back");
        }
    }

    /// @dev First and last character of each length, and what lies just outside: overlong forms, surrogates, above U+10FFFF.
    function test_Uri_KnowsTheEdgesOfUtf8() public {
        bytes[8] memory valid =
            [bytes(hex"7f"), hex"c280", hex"dfbf", hex"e0a080", hex"ed9fbf", hex"ee8080", hex"f0908080", hex"f48fbfbf"];
        for (uint256 i; i < valid.length; ++i) {
            assertEq(_nameOf(valid[i]), string(valid[i]), "valid");
        }
        bytes[8] memory broken =
            [bytes(hex"80"), hex"c1bf", hex"c3", hex"e09fbf", hex"eda080", hex"f08fbfbf", hex"f4908080", hex"f5808080"];
        for (uint256 i; i < broken.length; ++i) {
            _assertWritten(broken[i], _replaced(broken[i].length));
        }
    }

    /// @dev Only what is broken is replaced.
    function test_Uri_RepairsANameAroundWhatIsBroken() public {
        assertEq(_nameOf(hex"41ff42"), unicode"A\ufffdB", "one byte");
        assertEq(_nameOf(hex"e28241"), unicode"\ufffd\ufffdA", "a character cut off");
        assertEq(_nameOf(hex"f09f9222"), unicode"\ufffd\ufffd\ufffd\"", "cut off by a quote");
        assertEq(_nameOf(hex"c3b6c3"), unicode"ö\ufffd", "cut off by the end");
    }

    /// @dev Whatever bytes the name is made of, a wallet can read the metadata.
    function testFuzz_Uri_IsJsonForAnyName(bytes32 low, bytes32 high, uint256 length) public {
        bytes memory name = abi.encodePacked(low, high);
        length = bound(length, 1, 64);
        assembly ("memory-safe") {
            mstore(name, length)
        }
        ClassTerms memory terms = _saleTerms();
        terms.name = string(name);
        string memory json = _json(_createClass(terms));
        assertEq(vm.parseJsonString(json, ".properties.funding"), "sale", "what follows is intact");
        assertEq(vm.parseJsonAddress(json, ".properties.issuer"), issuer.addr, "what follows is intact");
        assertGt(bytes(vm.parseJsonString(json, ".name")).length, 0, "name");
    }

    function test_Uri_EscapesTheRegion() public {
        ClassTerms memory terms = _saleTerms();
        terms.region = '"},"x":"';
        string memory json = _json(_createClass(terms));
        assertEq(vm.parseJsonString(json, ".properties.region"), '"},"x":"', "region");
        terms.region = "twelve-chars";
        assertEq(vm.parseJsonString(_json(_createClass(terms)), ".properties.region"), "twelve-chars", "full");
        assertEq(vm.parseJsonString(_json(plain), ".properties.region"), "", "none");
        terms.region = bytes12(hex"61ff62");
        assertEq(vm.parseJsonString(_json(_createClass(terms)), ".properties.region"), unicode"a\ufffdb", "repaired");
    }

    function _nameOf(bytes memory name) private returns (string memory) {
        ClassTerms memory terms = _saleTerms();
        terms.name = string(name);
        return vm.parseJsonString(_json(_createClass(terms)), ".name");
    }

    /// @dev Compares bytes: what reads JSON for us repairs broken characters by itself.
    function _assertWritten(bytes memory name, string memory expected) private {
        ClassTerms memory terms = _saleTerms();
        terms.name = string(name);
        bytes memory json = bytes(_json(_createClass(terms)));
        bytes memory start = abi.encodePacked('{"name":"', expected, '","');
        for (uint256 i; i < start.length; ++i) {
            assertEq(json[i], start[i], "every byte replaced");
        }
    }

    function _replaced(uint256 count) private pure returns (string memory text) {
        for (uint256 i; i < count; ++i) {
            text = string.concat(text, unicode"\ufffd");
        }
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
        assertEq(vm.parseJsonString(json, ".properties.maxRate"), vm.toString(terms.maxRate), "rate");
        assertFalse(vm.parseJsonBool(json, ".properties.capacityBound"), "capacity-bound");
        assertEq(vm.parseJsonBool(json, ".properties.transferable"), true, "transferable");
        assertEq(vm.parseJsonUint(json, ".properties.expiry"), terms.expiry, "expiry");
        assertEq(vm.parseJsonAddress(json, ".properties.eligibility"), address(0), "eligibility");
    }

    function _assertReview(string memory json, ClassTerms memory terms) private pure {
        assertEq(vm.parseJsonUint(json, ".properties.minAssurance"), terms.minAssurance, "assurance");
        assertEq(vm.parseJsonUint(json, ".properties.watcherSet"), terms.watcherSet, "watchers");
        assertEq(vm.parseJsonUint(json, ".properties.challengeWindow"), terms.challengeWindow, "window");
        assertEq(vm.parseJsonUint(json, ".properties.arbiterSet"), terms.arbiterSet, "arbiters");
        assertEq(vm.parseJsonString(json, ".properties.stakePerMillion"), vm.toString(terms.stakePerMillion), "stake");
    }

    function _assertFeed(string memory json, ClassTerms memory terms) private pure {
        assertEq(vm.parseJsonAddress(json, ".properties.priceFeed"), terms.priceFeed, "feed");
        assertEq(vm.parseJsonUint(json, ".properties.maxPriceAge"), terms.maxPriceAge, "age");
        assertEq(vm.parseJsonUint(json, ".properties.maxDeviationBps"), terms.maxDeviationBps, "deviation");
    }

    function _assertMoney(string memory json, ClassTerms memory terms) private pure {
        assertEq(vm.parseJsonAddress(json, ".properties.issuer"), terms.issuer, "issuer");
        assertEq(vm.parseJsonString(json, ".properties.funding"), "sale", "funding");
        assertEq(vm.parseJsonString(json, ".properties.maxSupply"), vm.toString(terms.maxSupply), "max supply");
        assertEq(vm.parseJsonString(json, ".properties.maxPerHolder"), vm.toString(terms.maxPerHolder), "cap");
        assertEq(vm.parseJsonAddress(json, ".properties.paymentToken"), terms.paymentToken, "token");
        assertEq(vm.parseJsonString(json, ".properties.pricePerMillion"), vm.toString(terms.pricePerMillion), "price");
    }
}
