// A client generated from proto/open_inference.proto, against a worker with `echo`.
package main

import (
	"context"
	"io"
	"log"
	"os"
	"time"

	"anyserve/inference"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

func request(model, text string) *inference.ModelInferRequest {
	return &inference.ModelInferRequest{
		ModelName: model,
		Inputs: []*inference.ModelInferRequest_InferInputTensor{{
			Name:     "x",
			Datatype: "BYTES",
			Shape:    []int64{1},
			Contents: &inference.InferTensorContents{BytesContents: [][]byte{[]byte(text)}},
		}},
	}
}

func textOf(answer *inference.ModelInferResponse) string {
	return string(answer.GetOutputs()[0].GetContents().GetBytesContents()[0])
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	connection, err := grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(err)
	client := inference.NewGRPCInferenceServiceClient(connection)

	ready, err := client.ModelReady(ctx, &inference.ModelReadyRequest{Name: "echo"})
	check(err)
	if !ready.GetReady() {
		log.Fatal("echo is not ready")
	}
	answer, err := client.ModelInfer(ctx, request("echo", "Grüße"))
	check(err)
	if text := textOf(answer); text != "Grüße" {
		log.Fatalf("got %q", text)
	}

	stream, err := client.ModelStreamInfer(ctx)
	check(err)
	for _, text := range []string{"one", "two"} {
		check(stream.Send(request("echo", text)))
		part, err := stream.Recv()
		check(err)
		if part.GetErrorMessage() != "" || textOf(part.GetInferResponse()) != text {
			log.Fatalf("got %v", part)
		}
	}
	check(stream.CloseSend())
	if _, err := stream.Recv(); err != io.EOF {
		log.Fatalf("the stream ends with %v", err)
	}

	if _, err := client.ModelInfer(ctx, request("nobody", "x")); status.Code(err) != codes.NotFound {
		log.Fatalf("a model that nobody has: %v", err)
	}
	log.Print("all held")
}
