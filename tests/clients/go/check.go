// check HOST:PORT PHOTO
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	pb "facequality/v1"
)

func main() {
	photo, err := os.ReadFile(os.Args[2])
	if err != nil {
		panic(err)
	}
	channel, err := grpc.Dial(os.Args[1], grpc.WithInsecure())
	if err != nil {
		panic(err)
	}
	defer channel.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	image := &pb.CheckFaceQualityRequest_Image{Image: photo}
	answer, err := pb.NewFaceQualityServiceClient(channel).CheckFaceQuality(ctx, &pb.CheckFaceQualityRequest{Photo: image})
	if err != nil {
		fmt.Println(status.Code(err), status.Convert(err).Message())
		return
	}
	fmt.Println(answer.Verdict, answer.Reasons, answer.Policy)
}
