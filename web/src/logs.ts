/** Events, however many blocks a node is willing to search at once. */
import type { App } from "./app.js";

const TOO_NARROW = 500n;

/**
 * What `read` finds from block `first` on, by default the deployment's. A range that the node refuses is halved. Raises what it
 * raises for a range that is narrow already, or when the node is gone.
 */
export async function searched<Found>(
  app: App,
  read: (range: { fromBlock: bigint; toBlock: bigint }) => Promise<readonly Found[]>,
  first = BigInt(app.deployment.block),
): Promise<Found[]> {
  const search = async (fromBlock: bigint, toBlock: bigint): Promise<Found[]> => {
    try {
      return [...(await read({ fromBlock, toBlock }))];
    } catch (error) {
      if (toBlock - fromBlock < TOO_NARROW) throw error;
      const middle = (fromBlock + toBlock) / 2n;
      return [...(await search(fromBlock, middle)), ...(await search(middle + 1n, toBlock))];
    }
  };
  return search(first, await app.client.getBlockNumber());
}
