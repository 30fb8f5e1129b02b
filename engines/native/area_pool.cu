// Area averages of rectangles of uint8 images, by the windows of torch's adaptive average pooling, summed in integers.
//
// rectangles: int (n, 10): image, left, top, right, bottom (just outside), and where the result goes: canvas, top, left,
// height, width. images: RGB pixels one after another; starts: where each begins, in pixels. The canvases are fp32
// (canvases, 3, tall, wide), normalised as MTCNN wants it.
extern "C" __global__ void pool(const unsigned char* images, const long long* starts, const int* widths,
                                const int* rectangles, float* canvases, int tall, int wide) {
    const int* rectangle = rectangles + (size_t)blockIdx.y * 10;
    const int height = rectangle[8], width = rectangle[9];
    const int pixel = blockIdx.x * blockDim.x + threadIdx.x;
    if (pixel >= height * width) return;
    const int row = pixel / width, column = pixel % width;
    const long long high = rectangle[4] - rectangle[2], across = rectangle[3] - rectangle[1];
    const int top = rectangle[2] + (int)(row * high / height), left = rectangle[1] + (int)(column * across / width);
    const int bottom = rectangle[2] + (int)(((row + 1) * high + height - 1) / height);
    const int right = rectangle[1] + (int)(((column + 1) * across + width - 1) / width);
    const int stride = widths[rectangle[0]];
    const unsigned char* image = images + starts[rectangle[0]] * 3;
    unsigned int red = 0, green = 0, blue = 0;
    for (int y = top; y < bottom; y++) {
        const unsigned char* at = image + ((size_t)y * stride + left) * 3;
        for (int x = left; x < right; x++, at += 3) {
            red += at[0];
            green += at[1];
            blue += at[2];
        }
    }
    const float share = (float)((bottom - top) * (right - left));
    const size_t plane = (size_t)tall * wide;
    float* result = canvases + (size_t)rectangle[5] * 3 * plane + (size_t)(rectangle[6] + row) * wide + rectangle[7] + column;
    result[0] = (red / share - 127.5f) * 0.0078125f;
    result[plane] = (green / share - 127.5f) * 0.0078125f;
    result[2 * plane] = (blue / share - 127.5f) * 0.0078125f;
}
