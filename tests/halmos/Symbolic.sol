// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Test} from "forge-std/Test.sol";
import {System} from "contracts/interfaces/Types.sol";
import {StandIn} from "./StandIn.sol";

/// @dev Halmos's own cheat codes.
interface Svm {
    function createUint(uint256 bits, string memory name) external returns (uint256);
    function createUint256(string memory name) external returns (uint256);
    function createAddress(string memory name) external returns (address);
    function createBytes32(string memory name) external returns (bytes32);
    function createBytes(uint256 size, string memory name) external returns (bytes memory);
    function createBool(string memory name) external returns (bool);
    function enableSymbolicStorage(address account) external;
}

/// @dev What every proof needs. Contracts are deployed from their artifacts: what is proven is the optimized bytecode that
/// is deployed. A `check_` function holds if no inputs make an `assert` in it fail; a path that reverts proves nothing.
abstract contract Symbolic is Test {
    Svm internal constant svm = Svm(address(uint160(uint256(keccak256("svm cheat code")))));

    uint256 internal constant START = 1_800_000_000;
    uint48 internal constant ADMIN_DELAY = 1 days;
    uint256 internal constant ROLE_DELAY = 2 days;

    address internal constant ADMIN = address(0xAD);
    address internal constant CREDITS = address(0xC0DE01);
    address internal constant RESERVE = address(0xC0DE02);
    address internal constant REGISTRY = address(0xC0DE03);
    address internal constant VERIFIER = address(0xC0DE04);
    address internal constant MARKET = address(0xC0DE05);
    address internal constant SESSIONS = address(0xC0DE06);
    address internal constant BUDGETS = address(0xC0DE07);
    address internal constant EXCHANGE = address(0xC0DE08);
    address internal constant METADATA = address(0xC0DE09);
    address internal constant TOKEN = address(0x70CE4);

    /// @dev The whole system by made-up addresses; a proof puts stand-ins where its contract calls.
    function _system() internal pure returns (System memory) {
        return System({
            credits: CREDITS,
            reserve: RESERVE,
            registry: REGISTRY,
            verifier: VERIFIER,
            market: MARKET,
            sessions: SESSIONS,
            budgets: BUDGETS,
            exchange: EXCHANGE,
            metadata: METADATA
        });
    }

    /// @dev Halmos reads artifacts by path alone.
    function _deploy(string memory name, bytes memory args) internal returns (address deployed) {
        bytes memory code =
            abi.encodePacked(vm.getCode(string.concat("build/prove/halmos/out/", name, ".sol/", name, ".json")), args);
        assembly {
            deployed := create(0, add(code, 32), mload(code))
        }
        assert(deployed != address(0));
    }

    /// @dev As `_deploy`, with every storage slot holding anything.
    function _deployInAnyState(string memory name, bytes memory args) internal returns (address deployed) {
        deployed = _deploy(name, args);
        svm.enableSymbolicStorage(deployed);
    }

    /// @dev Any time from START to the year 2106.
    function _anyTime() internal {
        vm.warp(START + svm.createUint(31, "time"));
    }

    /// @dev Puts stand-ins where a contract of Scrip calls others.
    function _standIn() internal {
        bytes memory code = type(StandIn).runtimeCode;
        address[8] memory places = [CREDITS, RESERVE, REGISTRY, VERIFIER, MARKET, BUDGETS, METADATA, TOKEN];
        for (uint256 i; i < places.length; ++i) {
            vm.etch(places[i], code);
        }
    }

    function _call(address target, address caller, bytes memory data) internal returns (bool ok) {
        vm.prank(caller);
        (ok,) = target.call(data);
    }
}
