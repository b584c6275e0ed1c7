/**
 * HTTP/2 flow control window: number of bytes that a peer can send before it must wait for a window update. With HTTP/2's
 * default of 64 KiB, a message of 1 MiB waits sixteen times.
 */
export const FLOW_CONTROL_WINDOW_BYTES = 2 * 1024 * 1024;

/**
 * Creates the options of the gRPC library for client and server. Both message limits are set, because the library's
 * defaults differ between the two. Channelz stays enabled, although nothing reads it: without it a server doesn't track its
 * connections, and `forceShutdown` closes none of them.
 */
export function createGrpcOptions(maxMessageBytes: number) {
  return {
    'grpc.max_receive_message_length': maxMessageBytes,
    'grpc.max_send_message_length': maxMessageBytes,
    'grpc-node.flow_control_window': FLOW_CONTROL_WINDOW_BYTES,
  };
}
