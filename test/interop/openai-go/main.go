// Calls an OpenAI-compatible server with OpenAI's Go client, and prints each response as it was received.
// usage: openai-go BASE_URL
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/shared"
)

var client openai.Client

func report(what string, raw string, err error) {
	var failure *openai.Error
	if errors.As(err, &failure) {
		fmt.Printf("%s: status %d, %s\n", what, failure.StatusCode, failure.RawJSON())
	} else if err != nil {
		fmt.Printf("%s: %v\n", what, err)
	} else {
		fmt.Printf("%s: %s\n", what, raw)
	}
}

func chat(what string, params openai.ChatCompletionNewParams, options ...option.RequestOption) *openai.ChatCompletion {
	params.Model = "m"
	response, err := client.Chat.Completions.New(context.Background(), params, options...)
	if err != nil {
		report(what, "", err)
		return nil
	}
	report(what, response.RawJSON(), nil)
	return response
}

func stream(what string, params openai.ChatCompletionNewParams) {
	params.Model = "m"
	events := client.Chat.Completions.NewStreaming(context.Background(), params)
	for events.Next() {
		report(what, events.Current().RawJSON(), nil)
	}
	report(what+" ends", "", events.Err())
}

func ask(content string) []openai.ChatCompletionMessageParamUnion {
	return []openai.ChatCompletionMessageParamUnion{openai.UserMessage(content)}
}

func main() {
	client = openai.NewClient(option.WithBaseURL(os.Args[1]), option.WithAPIKey("key"), option.WithMaxRetries(0))
	chat("chat", openai.ChatCompletionNewParams{
		Messages: ask("Zürich ☃?"), N: openai.Int(3), Logprobs: openai.Bool(true), TopLogprobs: openai.Int(2),
		Seed: openai.Int(9223372036854775807), MaxCompletionTokens: openai.Int(5),
	}, option.WithJSONSet("unknown.list", []any{1, nil, 1.5}))
	schema := shared.FunctionParameters{"type": "object", "properties": map[string]any{"city": map[string]any{"type": "string"}}}
	chat("JSON schema", openai.ChatCompletionNewParams{
		Messages: ask("x"),
		ResponseFormat: openai.ChatCompletionNewParamsResponseFormatUnion{OfJSONSchema: &shared.ResponseFormatJSONSchemaParam{
			JSONSchema: shared.ResponseFormatJSONSchemaJSONSchemaParam{Name: "city", Schema: schema, Strict: openai.Bool(true)},
		}},
	})
	image := "data:image/png;base64," + string(bytes.Repeat([]byte("iVBORw0K"), 20_000))
	chat("image", openai.ChatCompletionNewParams{Messages: []openai.ChatCompletionMessageParamUnion{
		openai.UserMessage([]openai.ChatCompletionContentPartUnionParam{
			openai.TextContentPart("What is it?"),
			openai.ImageContentPart(openai.ChatCompletionContentPartImageImageURLParam{URL: image}),
		}),
	}})

	tools := []openai.ChatCompletionToolUnionParam{
		openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{Name: "weather", Parameters: schema}),
		openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{Name: "time", Parameters: schema}),
	}
	turn := openai.ChatCompletionNewParams{Messages: ask("Zürich?"), Tools: tools, ParallelToolCalls: openai.Bool(true)}
	message := chat("tools", turn).Choices[0].Message
	turn.Messages = append(turn.Messages, message.ToParam())
	for _, call := range message.ToolCalls {
		turn.Messages = append(turn.Messages, openai.ToolMessage(`{"degrees":3.0}`, call.ID))
	}
	chat("results of tools", turn)

	usage := openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)}
	stream("stream", openai.ChatCompletionNewParams{Messages: ask("x"), N: openai.Int(2), StreamOptions: usage})
	stream("stream of tools", openai.ChatCompletionNewParams{Messages: ask("x"), Tools: tools})
	for _, status := range []string{"400", "404", "422", "500"} {
		chat("error", openai.ChatCompletionNewParams{Messages: ask("fail " + status)})
		stream("error of a stream", openai.ChatCompletionNewParams{Messages: ask("fail " + status)})
	}

	var vectors json.RawMessage
	input := openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"a", "b"}}
	err := client.Post(context.Background(), "embeddings", openai.EmbeddingNewParams{Model: "m", Input: input}, &vectors)
	report("embeddings", string(vectors), err)
	speech := openai.AudioTranscriptionNewParams{
		Model: "m", File: openai.File(bytes.NewReader([]byte("RIFF\x00\xff")), "a ü.wav", "audio/wav"),
	}
	text, err := client.Audio.Transcriptions.New(context.Background(), speech)
	if err == nil {
		fmt.Println("transcription:", text.Text)
	} else {
		report("transcription", "", err)
	}
}
