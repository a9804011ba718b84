// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {IERC3009} from "contracts/interfaces/IERC3009.sol";

/// @dev What the tests use of DemoUSD, errors included.
interface IDemoUSD is IERC20, IERC20Permit, IERC3009 {
    error DemoUSD_NotPayee(address caller, address given, address limit);
    error DemoUSD_NotYetValid(address authorizer, uint256 given, uint256 limit);
    error DemoUSD_Expired(address authorizer, uint256 given, uint256 limit);
    error DemoUSD_AuthorizationUsed(address authorizer, bytes32 given, bytes32 limit);
    error DemoUSD_BadSignature(address authorizer, bytes32 given, bytes32 limit);

    function mint(address to, uint256 amount) external;
}
