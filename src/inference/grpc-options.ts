/**
 * How many bytes a peer may send before it must wait until some were taken. With HTTP/2's own 64 KiB a message of a
 * mebibyte stops sixteen times for an answer.
 */
export const FLOW_CONTROL_WINDOW_BYTES = 2 * 1024 * 1024;

/**
 * What the gRPC library is told on both ends; both limits, because each end has other ones of its own. Its channelz, which
 * nobody reads here, stays on: a server without it does not know its connections, and `forceShutdown` ends none of them.
 */
export function createGrpcOptions(maxMessageBytes: number) {
  return {
    'grpc.max_receive_message_length': maxMessageBytes,
    'grpc.max_send_message_length': maxMessageBytes,
    'grpc-node.flow_control_window': FLOW_CONTROL_WINDOW_BYTES,
  };
}
