// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IProviderRegistry} from "contracts/interfaces/IProviderRegistry.sol";
import {ClassTerms} from "contracts/interfaces/Types.sol";

/// @dev Stands in for the credits towards the registry: classes with any terms and any supply, as a test wants them.
contract CreditsDouble {
    uint256 public classCount;
    mapping(uint256 classId => uint256) public totalSupply;
    mapping(uint256 classId => bool) private _closed;
    mapping(uint256 classId => ClassTerms) private _terms;

    function create(IProviderRegistry registry, ClassTerms calldata terms) external returns (uint256 classId) {
        classId = ++classCount;
        _terms[classId] = terms;
        registry.bindClass(terms.issuer, classId);
    }

    function setSupply(uint256 classId, uint256 units) external {
        totalSupply[classId] = units;
    }

    function close(uint256 classId) external {
        _closed[classId] = true;
    }

    function classTerms(uint256 classId) external view returns (ClassTerms memory) {
        return _terms[classId];
    }

    function isWoundDown(uint256 classId) external view returns (bool) {
        uint256 expiry = _terms[classId].expiry;
        return _closed[classId] || (expiry != 0 && block.timestamp > expiry);
    }
}
